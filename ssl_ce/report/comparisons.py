"""Does one subject beat another? Each table's subjects against its baselines, by the test that fits their outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ssl_ce.errors import unknown
from ssl_ce.records.record import Record
from ssl_ce.records.resampling import Values
from ssl_ce.records.significance import (
    MOST_SIGN_FLIPS,
    holm,
    mcnemar,
    paired_bootstrap_tests,
    sign_flip_interval,
    sign_flip_test,
)
from ssl_ce.report.layout import Table
from ssl_ce.report.pairing import Contenders, Pair, answers
from ssl_ce.report.standing import method_of
from ssl_ce.report.verdicts import NOT_TESTED, Comparison, Comparisons

Outcomes = Mapping[str, Values]
Load = Callable[[Record, Sequence[str]], Outcomes | None]

FEWEST_SEEDS = 3
IMAGES, DRAWS, SEEDS = "test images", "draws", "pretraining seeds"


def kept_outcomes(record: Record, names: Sequence[str]) -> Outcomes | None:
    """The outcomes of `record` called `names`, as far as there are such; None if it was read without any."""
    if record.outcomes is None:
        return None
    return {name: np.asarray(record.outcomes[name]) for name in names if name in record.outcomes}


def compare(
    tables: Iterable[Table],
    *,
    baselines: Sequence[str] = (),
    subjects: Sequence[str] = (),
    metric: str | None = None,
    outcomes: Load = kept_outcomes,
) -> list[Table]:
    """The tables with their comparisons (`Table.compared`): every subject against every baseline.

    Which test: exact McNemar for outcomes that are 0 or 1 for each image, the exact sign-flip test for several draws
    of labels, the paired bootstrap for other outcomes of images (sign flips for up to twenty). Where no outcomes say
    how single images came out, nothing is tested. Three or more pretraining seeds of one method (runs NAME-s0,
    NAME-s1, ...) are compared as one as well, by the exact sign-flip test over seeds. p is adjusted over the
    comparisons of a table by Holm's method.

    Parameters
    ----------
    baselines, subjects
        Names, or patterns as "runs/x-s*@conv3". No baselines: what nothing was learned in, and of untrained twins the
        subject's own. No subjects: all that are no baselines.
    metric
        What is compared, in the tables that have it; None: each table's headline.
    outcomes
        Gives a record's outcomes.

    Raises
    ------
    UserError
        If no table has that metric, or no subject is called as one of `baselines` or `subjects`.
    """
    tables = list(tables)
    known = list(dict.fromkeys(name for table in tables for name in table.metrics))
    if metric is not None and known:
        if metric not in known:
            raise unknown("metric in these records", metric, known)
        tables = [table for table in tables if metric in table.metrics]
    names = list(dict.fromkeys(record.subject.name for table in tables for record in table.records))
    for pattern in (*baselines, *subjects):
        if names and not any(answers(name, [pattern]) for name in names):
            raise unknown("subject in these records", pattern, names)
    return [
        _compared(table, baselines, subjects, metric or next(iter(table.metrics), ""), outcomes) for table in tables
    ]


def _compared(table: Table, baselines: Sequence[str], subjects: Sequence[str], metric: str, load: Load) -> Table:
    contenders = Contenders(table, baselines, subjects, metric)
    pairs = list(contenders.pairs())
    rows = _Judge(metric, load).compare(pairs)
    rows += _methods(pairs, rows, contenders.remarks)
    tested = [place for place, row in enumerate(rows) if row.p is not None]
    adjusted = holm([row.p for row in rows if row.p is not None])
    for place, p in zip(tested, adjusted, strict=True):
        rows[place] = replace(rows[place], p_adjusted=p)
    remarks = tuple(dict.fromkeys(contenders.remarks))
    return replace(table, compared=Comparisons(metric, tuple(rows), remarks, len(table.seeds) > 1))


@dataclass
class _Judge:
    """Tests pairs in one metric, reading each record's outcomes once."""

    metric: str
    load: Load
    _read: dict[str, Outcomes | None] = field(default_factory=dict)

    def compare(self, pairs: Sequence[Pair]) -> list[Comparison]:
        """The comparisons of `pairs`, in their order; p is not adjusted yet."""
        rows: list[Comparison] = []
        resampled: dict[bytes, dict[int, Values]] = {}  # those of the same images together
        for place, pair in enumerate(pairs):
            row, found = _untested(pair, self.metric), self._paired(pair)
            if isinstance(found, str):
                rows.append(replace(row, test=found))
                continue
            spread, ours, theirs = found
            there = ~np.isnan(ours)
            differences = (ours - theirs)[there]
            are_answers = spread == IMAGES and bool(np.isin([ours[there], theirs[there]], (0.0, 1.0)).all())
            if spread == DRAWS or (differences.size <= MOST_SIGN_FLIPS and not are_answers):
                rows.append(_over_few(row, differences, spread))
                continue
            resampled.setdefault(np.packbits(there).tobytes(), {})[place] = differences
            test = f"{'exact McNemar' if are_answers else 'paired bootstrap'} test over {differences.size:,} {spread}"
            rows.append(replace(row, test=test, p=mcnemar(ours[there], theirs[there]) if are_answers else None))
        for group in resampled.values():
            for place, one in zip(group, paired_bootstrap_tests(list(group.values())), strict=True):
                row = rows[place]
                rows[place] = replace(
                    row, difference=one.difference, low=one.low, high=one.high, spread=IMAGES,
                    p=one.p if row.p is None else row.p,
                )  # fmt: skip
        return rows

    def _paired(self, pair: Pair) -> tuple[str, Values, Values] | str:
        """What the outcomes of both are of, and they; or why there is nothing to pair."""
        metric, draws = self.metric, f"{self.metric}_draws"
        if pair.subject.metrics[metric].higher_is_better is None:
            return f"{metric} is neither good nor bad"
        both = []
        for record in (pair.subject, pair.baseline):
            outcomes = self._outcomes(record)
            if outcomes is None:
                return f"no outcomes of single images are kept of {record.subject.name}"
            both.append(outcomes)
        name = draws if all(len(outcomes.get(draws, ())) > 1 for outcomes in both) else metric
        if any(name not in outcomes for outcomes in both):
            return f"{metric} is one number of all images together"
        ours, theirs = (outcomes[name] for outcomes in both)
        spread = DRAWS if name == draws else IMAGES
        if ours.shape != theirs.shape:
            return f"{ours.size:,} {spread} and {theirs.size:,} do not pair"
        if np.isinf(ours).any() or np.isinf(theirs).any():
            return f"{metric} is not finite for every image"
        if (np.isnan(ours) != np.isnan(theirs)).any() or np.count_nonzero(~np.isnan(ours)) < 2:
            return f"{metric} is not there for the same images, or for fewer than two"
        for record, values in zip((pair.subject, pair.baseline), (ours, theirs), strict=True):
            if not np.isclose(np.nanmean(values), record.metrics[metric].value, rtol=1e-6, atol=1e-9):
                return f"{metric} is not the mean of its {spread}"
        return spread, ours, theirs

    def _outcomes(self, record: Record) -> Outcomes | None:
        if record.id not in self._read:
            self._read[record.id] = self.load(record, (self.metric, f"{self.metric}_draws"))
        return self._read[record.id]


def _methods(pairs: Sequence[Pair], rows: Sequence[Comparison], remarks: list[str]) -> list[Comparison]:
    """Comparisons of methods over their pretraining seeds, from those of their runs: `rows`, one for each of `pairs`.

    A run that was judged with several train sets is no further seed: each train set is a comparison of its own.
    """
    groups: dict[tuple[str, str, int, str | None], list[int]] = {}
    for place, (pair, row) in enumerate(zip(pairs, rows, strict=True)):
        subject, baseline = method_of(row.subject)[0], method_of(row.baseline)[0]
        if (subject, baseline) != (row.subject, row.baseline):
            train = None if pair.subject.train is None else pair.subject.train.fingerprint
            groups.setdefault((subject, baseline, row.seed, train), []).append(place)
    found = []
    for (subject, baseline, *_), places in groups.items():
        if len(places) < FEWEST_SEEDS:
            if len(places) > 1:
                remarks.append(
                    f"{subject} − {baseline}: {len(places)} seeds support no claim about a method; runs are shown."
                )
            continue
        differences = np.array([rows[place].difference for place in places])
        row = replace(
            rows[places[0]], subject=subject, baseline=baseline, difference=float(differences.mean()), low=None,
            high=None, spread=NOT_TESTED, deviation=float(differences.std(ddof=1)), p=None, flips=0, record=None,
            parts=tuple(places),
        )  # fmt: skip
        if row.higher_is_better is None or not np.isfinite(differences).all():
            found.append(replace(row, test=f"{row.metric} is neither good nor bad, or not finite"))
        else:
            found.append(_over_few(row, differences, SEEDS))
    return found


def _over_few(row: Comparison, differences: Values, spread: str) -> Comparison:
    """`row` tested over a few paired differences; many of them are resampled."""
    count = differences.size
    if count > MOST_SIGN_FLIPS:
        value, low, high, p = paired_bootstrap_tests([differences])[0]
        return replace(
            row, difference=value, low=low, high=high, p=p, spread=spread,
            test=f"paired bootstrap test over {count} {spread}",
        )  # fmt: skip
    row = replace(
        row, difference=float(differences.mean()), p=sign_flip_test(differences), flips=count,
        test=f"exact sign-flip test over {count} {spread}",
    )  # fmt: skip
    interval = sign_flip_interval(differences)
    return row if interval is None else replace(row, low=interval[0], high=interval[1], spread=spread)


def _untested(pair: Pair, metric: str) -> Comparison:
    ours, theirs = pair.subject.metrics[metric], pair.baseline.metrics[metric]
    return Comparison(
        subject=pair.subject.subject.name,
        baseline=pair.baseline.subject.name,
        metric=metric,
        higher_is_better=ours.higher_is_better,
        seed=pair.subject.seed,
        difference=ours.value - theirs.value,
        test="",
        record=pair.subject.id,
    )
