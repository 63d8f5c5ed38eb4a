"""The evaluation cells of a suite: subjects expanded over pretrainings, floors added, each once, and checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ssl_ce.data import DataOptions
from ssl_ce.errors import UserError
from ssl_ce.evaluators import evaluators
from ssl_ce.evaluators.base import EvaluationData, Evaluator
from ssl_ce.evaluators.judge import with_floors
from ssl_ce.evaluators.opening import open_evaluation_sets
from ssl_ce.evaluators.recording import cell_of, departures
from ssl_ce.settings import parse
from ssl_ce.suites.cells import EvaluationCell, PretrainCell, Sets
from ssl_ce.suites.expansion import Pretraining
from ssl_ce.suites.filling import fill, nested
from ssl_ce.suites.standing_in import StandIns
from ssl_ce.suites.suite import DataSection, EvaluateEntry, Suite

# Characters of a setting in a cell's label.
_LONGEST = 24


def plan_evaluations(
    suite: Suite,
    expanded: Sequence[Pretraining],
    pretrainings: Sequence[PretrainCell],
    stand_ins: StandIns,
    results: Path,
    device: str,
    options: DataOptions,
    say: Callable[[str], None],
) -> list[EvaluationCell]:
    """The cells of the suite's `evaluate`, in its order. Raises `UserError` for what cannot be judged."""
    planner = _Planner(suite, expanded, pretrainings, stand_ins, results, device, options, say)
    for number in range(len(suite.evaluate)):
        planner.add(number)
    return list(planner.cells.values())


@dataclass(frozen=True)
class _Asked:
    """What an entry asks for: one text of a subject, filled, for one pretraining or for none."""

    text: str
    pretraining: PretrainCell | None
    evaluator: Evaluator


class _Planner:
    def __init__(
        self,
        suite: Suite,
        expanded: Sequence[Pretraining],
        pretrainings: Sequence[PretrainCell],
        stand_ins: StandIns,
        results: Path,
        device: str,
        options: DataOptions,
        say: Callable[[str], None],
    ) -> None:
        self.suite, self.pretrainings, self.stand_ins = suite, pretrainings, stand_ins
        self.variables = {pretraining.name: pretraining.variables for pretraining in expanded}
        self.results, self.device, self.options, self.say = results, device, options, say
        self.cells: dict[str, EvaluationCell] = {}
        self._opened: dict[tuple[Sets, bool], EvaluationData] = {}
        self._checked: set[str] = set()

    def add(self, number: int) -> None:
        """Add the cells of one entry."""
        entry = self.suite.evaluate[number]
        where = f"suite {self.suite.name}, evaluate[{number}] ({entry.evaluator})"
        try:
            for asked in self._asked(entry, where):
                own = asked.evaluator.reference(asked.text)
                references = with_floors(asked.evaluator, [asked.text]) if entry.floors else [own]
                for reference in references:
                    self._add(number, asked, reference, floor=reference != own)
        except UserError as error:
            raise UserError(str(error) if str(error).startswith("In ") else f"In {where}: {error}") from error

    def _asked(self, entry: EvaluateEntry, where: str) -> Iterator[_Asked]:
        chosen = _chosen(entry.runs, self.pretrainings, where)
        for text in entry.subjects:
            if "{run}" not in text:
                variables: Mapping[str, Any] = self.suite.parameters
                yield _Asked(str(fill(text, variables, where)), None, self._evaluator(entry, variables, where))
                continue
            if not chosen:
                raise UserError(f"In {where}: '{text}' stands for pretrainings, and this suite has none.")
            for cell in chosen:
                variables = {**self.variables[cell.name], "run": cell.path.as_posix(), "name": cell.name}
                place = f"{where}, for the pretraining '{cell.name}'"
                yield _Asked(str(fill(text, variables, place)), cell, self._evaluator(entry, variables, place))

    def _evaluator(self, entry: EvaluateEntry, variables: Mapping[str, Any], where: str) -> Evaluator:
        evaluator_class = evaluators.get(entry.evaluator)
        values = nested(fill(entry.settings, variables, f"{where}, settings"))
        return evaluator_class(parse(evaluator_class.Config, values, f"{where}, settings"))

    def _add(self, number: int, asked: _Asked, reference: str, *, floor: bool) -> None:
        entry, evaluator = self.suite.evaluate[number], asked.evaluator
        sets = self._sets(entry.data or self.suite.data, entry, asked.pretraining)
        made_of = self.stand_ins.pretraining(reference)
        data = self._open(evaluator, sets)
        self.say(f"looking at {evaluator.name} of {reference}")
        name = self._checked_name(evaluator, reference, data, made_of)
        key = cell_of(evaluator, name, data, entry.seed)
        known = self.cells.get(key)
        if known is not None and not floor and not known.floor:
            raise UserError(f"duplicate cell: {known.label} is asked for twice. Leave one out.")
        who = name if made_of is None else name.replace(made_of.path.as_posix(), made_of.key)
        departed = "".join(f" {name}={_short(value)}" for name, value in departures(evaluator.config).items())
        train = " on train" if entry.split == "train" else ""
        cell = EvaluationCell(
            entry=number,
            evaluator=entry.evaluator,
            protocol=evaluator.protocol,
            config=evaluator.config.model_dump(mode="json"),
            reference=reference,
            subject=name,
            sets=replace(sets, options=replace(sets.options, progress=False)),
            seed=entry.seed,
            results=self.results,
            device=self.device,
            hash=key,
            n=len(data.test),
            label=f"{entry.evaluator}{departed} {who}{train}",
            pretraining=None if made_of is None else made_of.name,
            run_seed=None if made_of is None else made_of.seed,
            floor=floor,
            needs=() if made_of is None else (made_of.key,),
            resources=entry.resources.over(self.suite.resources),
        )
        if known is None:
            self.cells[key] = cell
        elif not floor:
            self.cells[key] = replace(known, floor=False)

    def _sets(self, data: DataSection, entry: EvaluateEntry, pretraining: PretrainCell | None) -> Sets:
        """Opened at the size asked for, else the network's: a subject that is no run is judged at the first run's."""
        first = pretraining or next(iter(_chosen(entry.runs, self.pretrainings, "")), None)
        size = data.size or (int(first.recipe.method["size"]) if first is not None else None)
        options = replace(self.options, default_size=size, fit=data.fit, seed=data.split_seed)
        train, test = data.train or data.source, data.test or data.source
        for role, reference in (("train", train), ("test", test)):
            needed = role == entry.split or (role == "train" and evaluators.get(entry.evaluator).needs.train)
            if needed and reference is None:
                raise UserError(f"it needs {role} images, and data names none: give data.source, or data.{role}.")
        return Sets(train, test, entry.split, options)

    def _open(self, evaluator: Evaluator, sets: Sets) -> EvaluationData:
        key = (sets, evaluator.needs.train)
        if key not in self._opened:
            self.say("")
            self._opened[key] = open_sets(evaluator, sets)
        return self._opened[key]

    def _checked_name(
        self, evaluator: Evaluator, reference: str, data: EvaluationData, made_of: PretrainCell | None
    ) -> str:
        """The subject's name in records, once it is known that it can be judged.

        A run is called as it is written, and what can be told before training is the same for each of its seeds.
        """
        if made_of is None:
            stand_in = self.stand_ins.subject(evaluator, reference, data)
            evaluator.check(stand_in, data)
            return stand_in.name
        who = reference.replace(made_of.path.as_posix(), made_of.name)
        key = json.dumps([evaluator.protocol, evaluator.config.model_dump(mode="json"), who, data.test.fingerprint])
        if key not in self._checked:
            evaluator.check(self.stand_ins.subject(evaluator, reference, data), data)
            self._checked.add(key)
        return reference


def open_sets(evaluator: Evaluator, sets: Sets) -> EvaluationData:
    """The image sets of an evaluation cell."""
    return open_evaluation_sets(
        evaluator, source=None, train=sets.train, test=sets.test, options=sets.options, split=sets.split
    )


def _chosen(patterns: Sequence[str], pretrainings: Sequence[PretrainCell], where: str) -> list[PretrainCell]:
    found = [cell for cell in pretrainings if any(fnmatchcase(cell.name, pattern) for pattern in patterns)]
    if pretrainings and not found and where:
        names = ", ".join(dict.fromkeys(cell.name for cell in pretrainings))
        raise UserError(f"In {where}: 'runs' chooses no pretraining. Their names: {names}.")
    return found


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
