"""What comparisons found: one subject against one baseline, all those of a table, and the words that tell them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ssl_ce.report.units import show_p, unit_of

SIGNIFICANT = 0.05
STAR = "★"
NOT_TESTED = "n/a"


@dataclass(frozen=True)
class Comparison:
    """One subject against one baseline, in one metric of one table.

    Attributes
    ----------
    subject, baseline
        Their references; of a method over its pretraining seeds with "-s*" in the place of the seed.
    metric, higher_is_better
        What is compared, and which direction is better.
    seed
        Of the evaluations.
    difference
        Mean of subject - baseline, in the metric's own unit.
    low, high
        Ends of its 95 % interval; None where there is none.
    spread
        What the interval is over: "test images", "draws", "pretraining seeds".
    deviation
        Of a method: the standard deviation of its runs' differences.
    p, p_adjusted
        Two-sided, before and after Holm's adjustment over the comparisons of the table; None where nothing was tested.
    test
        The test in words, "exact sign-flip test over 10 draws", or why there is none.
    flips
        Differences of a sign-flip test: p is never below 2^(1 - flips). 0 for other tests.
    record
        Id of the subject's record; None for a method.
    parts
        Of a method: the places of its runs' comparisons among the table's.
    """

    subject: str
    baseline: str
    metric: str
    higher_is_better: bool | None
    seed: int
    difference: float
    test: str
    low: float | None = None
    high: float | None = None
    spread: str = NOT_TESTED
    deviation: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    flips: int = 0
    record: str | None = None
    parts: tuple[int, ...] = ()

    @property
    def is_significant(self) -> bool:
        """Whether the two differ, at a family-wise error rate of 5 %."""
        return self.p_adjusted is not None and self.p_adjusted < SIGNIFICANT

    @property
    def is_better(self) -> bool:
        """Whether the subject is significantly better."""
        return self.is_significant and (self.difference > 0) == (self.higher_is_better is True)


@dataclass(frozen=True)
class Line:
    """A comparison as it is shown: who, against whom, and the cells below the other heads."""

    subject: str
    baseline: str
    cells: tuple[str, ...]
    significant: bool


@dataclass(frozen=True)
class Comparisons:
    """All comparisons of one table.

    Attributes
    ----------
    metric
        What is compared.
    rows
        Those of single runs, and those of methods over their seeds.
    remarks
        What else is to be said, such as what was not compared: a line each.
    seeds
        Whether the table holds evaluations of several seeds, so that a name needs one.
    listed
        Whether they are shown; else they are only what marks and the legend come from.
    """

    metric: str
    rows: tuple[Comparison, ...]
    remarks: tuple[str, ...] = ()
    seeds: bool = False
    listed: bool = True

    @cached_property
    def better(self) -> frozenset[str]:
        """Ids of the records that are significantly better than every baseline that they were compared with."""
        found: dict[str, bool] = {}
        for row in self.rows:
            if row.record is not None:
                found[row.record] = found.get(row.record, True) and row.is_better
        return frozenset(record for record, better in found.items() if better)

    @property
    def legend(self) -> str:
        """What the mark beside a value means; empty where nothing is marked."""
        if not self.better:
            return ""
        marked = [row for row in self.rows if row.record in self.better]
        with_twin = {row.record for row in marked if _is_twin(row)}
        twin = "its untrained twin" if with_twin == self.better else "its untrained twin where there is one"
        baselines = dict.fromkeys(twin if _is_twin(row) else row.baseline for row in marked)
        tests = dict.fromkeys(row.test for row in marked)
        return (
            f"{STAR} better {self.metric} than every baseline ({', '.join(baselines)}): {', '.join(tests)}, "
            f"p (Holm) < {SIGNIFICANT}; a claim about this run."
        )

    @cached_property
    def heads(self) -> tuple[str, ...]:
        """The heads of the columns; the first names who is compared."""
        extras = ("runs better",) * any(row.parts for row in self._shown) + ("test",) * (
            len({row.test for row in self._shown}) > 1
        )
        unit = unit_of(self.metric)
        symbol = "points" if unit.symbol == "%" else unit.symbol  # a difference of percentages is not one in percent
        difference = f"difference in {self.metric}{f' ({symbol})' if symbol else ''}"
        return ("compared", difference, "p", "p (Holm)", *extras)

    def lines(self) -> Iterator[Line]:
        """The comparisons as texts. A method of several seeds stands for its runs."""
        for row in self._shown:
            better = sum(self.rows[place].is_better for place in row.parts)
            texts = {
                self.heads[1]: _difference(row),
                "p": NOT_TESTED if row.p is None else show_p(row.p),
                "p (Holm)": NOT_TESTED if row.p_adjusted is None else show_p(row.p_adjusted),
                "runs better": f"{better} of {len(row.parts)}" if row.parts else "",
                "test": NOT_TESTED if row.p is None else row.test.removeprefix("exact ").replace(" test over", ","),
            }
            subject = f"{row.subject} (seed {row.seed})" if self.seeds else row.subject
            yield Line(subject, row.baseline, tuple(texts[head] for head in self.heads[1:]), row.is_significant)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What has to be known to read the comparisons: tests, adjustment, intervals, and what could not be tested."""
        tested = [row for row in self.rows if row.p is not None]
        notes = []
        if tested:
            some = " (single runs and methods)" if any(row.parts for row in self.rows) else ""
            count = f"; p (Holm) is adjusted for these {len(tested)} comparisons{some}" if len(tested) > 1 else ""
            notes.append(f"Two-sided {', '.join(self._tests)}{count}.")
        if spreads := dict.fromkeys(row.spread for row in self._shown if row.low is not None):
            notes.append(f"[95 % interval] of the difference: over {', over '.join(spreads)}.")
        if any(row.deviation is not None for row in self._shown):
            notes.append("±: standard deviation over pretraining seeds.")
        notes += _smallest(tested)
        return (*notes, *_untested(self.rows), *self.remarks)

    def rows_as_dicts(self) -> Iterator[dict[str, Any]]:
        """Every comparison in full, for other programs."""
        for row in self.rows:
            yield {
                "subject": row.subject,
                "baseline": row.baseline,
                "metric": row.metric,
                "seed": row.seed,
                "runs": len(row.parts) or 1,
                "difference": row.difference,
                "low": row.low,
                "high": row.high,
                "spread": row.spread,
                "sd_over_seeds": row.deviation,
                "p": row.p,
                "p_holm": row.p_adjusted,
                "better": row.is_better,
                "test": row.test,
                "id": row.record,
            }

    @cached_property
    def _shown(self) -> tuple[Comparison, ...]:
        pooled = {place for row in self.rows for place in row.parts}
        return tuple(row for place, row in enumerate(self.rows) if place not in pooled)

    @cached_property
    def _tests(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(row.test for row in self.rows if row.p is not None))


def _is_twin(row: Comparison) -> bool:
    return any(row.baseline.replace(scheme, "", 1) == row.subject for scheme in ("init:", "random:"))


def _difference(row: Comparison) -> str:
    unit = unit_of(row.metric)
    interval = ""
    if row.low is not None and row.high is not None:
        interval = f" [{unit.show(row.low, signed=True)}, {unit.show(row.high, signed=True)}]"
    deviation = "" if row.deviation is None else f" ± {unit.show(row.deviation)}"
    return f"{unit.show(row.difference, signed=True)}{deviation}{interval}"


def _smallest(tested: list[Comparison]) -> Iterator[str]:
    """A line for each number of sign flips that is too small for anything to come out as significant here."""
    for flips, spread in dict.fromkeys((row.flips, row.test.rpartition(" over ")[2]) for row in tested if row.flips):
        smallest = 2.0 ** (1 - flips)
        # At least so many are ranked with it, for none of them can have a smaller p.
        together = sum(0 < row.flips <= flips for row in tested)
        if min(1.0, smallest * together) >= SIGNIFICANT:
            adjusted = f", nor below {show_p(min(1.0, smallest * together))} once adjusted" if together > 1 else ""
            yield (
                f"Over {spread} p cannot fall below {show_p(smallest)}{adjusted}: none of these differences can be "
                "significant. It would take more of them, or fewer comparisons."
            )


def _untested(rows: tuple[Comparison, ...]) -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row.p is None:
            reasons.setdefault(row.test, []).append(f"{row.subject} − {row.baseline}")
    for reason, who in reasons.items():
        some = f"{', '.join(who[:3])}{f' and {len(who) - 3} more' if len(who) > 3 else ''}"
        yield f"{NOT_TESTED}: {reason} ({some})."
