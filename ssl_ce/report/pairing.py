"""Who meets whom: the subjects and baselines of a table, as pairs of records that may be compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from ssl_ce.records.record import Record
from ssl_ce.report.layout import Table
from ssl_ce.report.standing import is_floor, method_of, twin_of


@dataclass(frozen=True)
class Pair:
    """Two records of one table, of the same seed and train images."""

    subject: Record
    baseline: Record


@dataclass
class Contenders:
    """The subjects and baselines of a table, the latest record of each, and who meets whom."""

    table: Table
    baselines: Sequence[str]
    subjects: Sequence[str]
    metric: str
    remarks: list[str] = field(default_factory=list)

    def pairs(self) -> Iterator[Pair]:
        """Who meets whom: subjects in the table's order, baselines in the order in which they were asked for."""
        rows = self._latest()
        against = [name for name in rows if (answers(name, self.baselines) if self.baselines else is_floor(name))]
        if self.baselines:
            against.sort(key=lambda name: next(i for i, one in enumerate(self.baselines) if answers(name, [one])))
        judged = [name for name in rows if name not in against and answers(name, self.subjects or ["*"])]
        self._tell_who_met_no_twin(judged, against)
        found = False
        for name in judged:
            for baseline in against:
                if not self._meets(name, baseline):
                    continue
                for record in rows[name]:
                    found = True
                    partner = next((other for other in rows[baseline] if _fit(record, other)), None)
                    if partner is None:
                        self.remarks.append(
                            f"Not compared: {name} and {baseline} have no records of the same seed and train images."
                        )
                    else:
                        yield Pair(record, partner)
        if not found:
            self.remarks.append(_nothing(judged, against))
        elif any(not is_floor(name) for name in judged):
            self.remarks.append("One run speaks of that run. A claim about a method takes three pretraining seeds.")

    def _tell_who_met_no_twin(self, judged: Sequence[str], against: Sequence[str]) -> None:
        """Where some networks meet their untrained twins, a reader would think that all do."""
        twins = set() if self.baselines else {twin_of(name) for name in against} - {None}
        without = dict.fromkeys(method_of(name)[0] for name in judged if name not in twins and not is_floor(name))
        if twins and without:
            self.remarks.append(
                f"No untrained twin of its own in this table, and so compared with the other baselines alone: "
                f"{', '.join(without)}."
            )

    def _latest(self) -> dict[str, list[Record]]:
        """{subject: its records}, the latest of those of one seed and train images."""
        found: dict[str, dict[tuple[object, ...], Record]] = {}
        for record in self.table.records:
            if self.metric not in record.metrics:
                self.remarks.append(f"Not compared: {record.subject.name} has no {self.metric}.")
                continue
            rows = found.setdefault(record.subject.name, {})
            key = (record.seed, record.train and record.train.fingerprint)
            if key in rows:
                self.remarks.append(f"{record.subject.name} is there more than once: its latest record is compared.")
            if key not in rows or record.created >= rows[key].created:
                rows[key] = record
        return {name: list(rows.values()) for name, rows in found.items()}

    def _meets(self, name: str, baseline: str) -> bool:
        """Untrained twins that nobody asked for meet their own network, and runs of a seed others of that seed."""
        twin = None if self.baselines else twin_of(baseline)
        ours, theirs = method_of(name)[1], method_of(baseline)[1]
        return (twin is None or twin == name) and (not ours or not theirs or ours == theirs)


def answers(name: str, patterns: Sequence[str]) -> bool:
    """Whether a subject is called as one of `patterns`: its very name, or a pattern as "runs/x-s*"."""
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)


def _fit(record: Record, other: Record) -> bool:
    """Whether two records are of one seed and, where both have some, of the same train images."""
    trains = {one.train.fingerprint for one in (record, other) if one.train is not None}
    return record.seed == other.seed and len(trains) < 2


def _nothing(judged: Sequence[str], against: Sequence[str]) -> str:
    if not against:
        return "Nothing was compared: no baseline is in this table. Name one of its subjects: --baseline SUBJECT."
    if not judged:
        return "Nothing was compared: all are baselines, and none meets another. Name one alone: --baseline SUBJECT."
    return f"Nothing was compared: {', '.join(against)} meet no subject of this table. Name one: --baseline SUBJECT."
