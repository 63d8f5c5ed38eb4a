"""The suite file: what is pretrained, what is judged, and which published table it stands beside."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, field_validator, model_validator

from ssl_ce.data.options import Fit
from ssl_ce.errors import UserError, unknown
from ssl_ce.settings import Settings, override, parse, read_scalar, read_yaml
from ssl_ce.suites.filling import fill, flat_settings
from ssl_ce.suites.shipped import find_suite
from ssl_ce.suites.tables import PublishedTable

RESERVED = ("run", "name")


class DataSection(Settings):
    """The images: `source`, or `train` and `test`; `size` (None: what the network takes), `fit`, `split_seed`."""

    source: str | None = None
    train: str | None = None
    test: str | None = None
    size: PositiveInt | None = None
    fit: Fit = "crop"
    split_seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.source is not None and (self.train is not None or self.test is not None):
            raise ValueError("give either source, or train and test (null leaves one out)")
        return self


class Resources(Settings):
    """What a cell takes of its node, where an executor shares out nodes: cores, and GPUs.

    `gpus` is a whole number, or a part of one; None is one if the cluster has any and `--device` allows.
    """

    cpus: PositiveInt = 1
    gpus: NonNegativeFloat | None = None

    @field_validator("gpus")
    @classmethod
    def _parts_of_one_only(cls, value: float | None) -> float | None:
        if value is not None and value > 1 and not value.is_integer():
            raise ValueError("give a whole number of GPUs, or a part of one")
        return value

    def over(self, others: Resources) -> Resources:
        """These, and for what they do not say, the `others`."""
        return Resources(**{**others.model_dump(exclude_unset=True), **self.model_dump(exclude_unset=True)})


class PretrainEntry(Settings):
    """One pretraining, or a matrix of them.

    Attributes
    ----------
    recipe, extends
        A recipe's name or file; or another entry, whose recipe, settings and variables this one takes over.
    over
        {axis: its values}; each combination is a pretraining, and "{axis}" stands for the value.
    settings
        Settings of the recipe, under dotted keys.
    tap, variables
        What "{tap}" and other names mean in the evaluations of this pretraining (`with` in the file).
    resources
        What each of its cells takes of a node; so for the other sections.
    """

    recipe: str | None = None
    extends: str | None = None
    over: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)
    tap: str | None = None
    variables: dict[str, Any] = Field(default_factory=dict, alias="with")
    resources: Resources = Resources()


class EvaluateEntry(Settings):
    """One protocol over several subjects.

    Attributes
    ----------
    subjects
        References; one with "{run}" stands for every pretraining that `runs` (patterns) chooses.
    split
        Which images are reported on.
    floors
        Judge the evaluator's floors too.
    data
        Other images than the suite's.
    """

    evaluator: str
    subjects: tuple[str, ...] = Field(min_length=1)
    runs: tuple[str, ...] = ("*",)
    settings: dict[str, Any] = Field(default_factory=dict)
    split: Literal["test", "train"] = "test"
    floors: bool = True
    seed: NonNegativeInt = 0
    data: DataSection | None = None
    resources: Resources = Resources()

    @field_validator("subjects", "runs", mode="before")
    @classmethod
    def _one_is_a_list_too(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class Suite(Settings):
    """A suite, its parameters filled in. See docs/suites.md for every key."""

    name: str = Field(pattern=r"^[A-Za-z0-9][\w.+-]*$")
    summary: str
    reproduces: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)
    data: DataSection
    seeds: tuple[NonNegativeInt, ...] = Field(default=(0,), min_length=1)
    settings: dict[str, Any] = Field(default_factory=dict)
    resources: Resources = Resources()
    pretrain: dict[str, PretrainEntry] = Field(default_factory=dict)
    evaluate: tuple[EvaluateEntry, ...] = ()
    tables: tuple[PublishedTable, ...] = ()
    folder: Path = Field(default=Path(), exclude=True)

    @model_validator(mode="after")
    def _something_to_do(self) -> Self:
        if not self.pretrain and not self.evaluate:
            raise ValueError("there is nothing to do: it has neither pretrain nor evaluate")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds names one seed twice: {list(self.seeds)}")
        return self


def load_suite(reference: str, assignments: Iterable[str] = ()) -> Suite:
    """The suite that `reference` names (shipped) or points to (a .yaml file), with `key=value` assignments made.

    Raises
    ------
    UserError
        If there is no such suite, or a key or value of its file is wrong; the closest valid name is given.
    """
    path = find_suite(reference)
    where = f"suite {reference}"
    values = _dotted(read_yaml(path), where)
    declared = _parameters(values, where)
    for assignment in assignments:
        values = _dotted(_assign(values, assignment), where)
    parameters = _parameters(values, where)
    _check_parameters(declared, parameters, where)
    values = {"name": path.stem, **values, "parameters": parameters}
    for section in ("data", "seeds", "settings", "pretrain", "evaluate", "tables", "summary", "reproduces"):
        if section in values:
            values[section] = fill(values[section], values["parameters"], f"{where}, {section}", strict=False)
    return parse(Suite, {**values, **_sections(values, where), "folder": path.parent}, where)


def dump_suite(suite: Suite) -> str:
    """The suite as YAML, overrides and parameters filled in; running it again is running the same."""
    values = suite.model_dump(mode="json", by_alias=True, exclude_unset=True)
    for entry in values.get("pretrain", {}).values():
        if (beside := suite.folder / str(entry.get("recipe"))).is_file():
            entry["recipe"] = str(beside)
    return str(yaml.safe_dump({**values, "name": suite.name}, sort_keys=False, allow_unicode=True, width=110))


def _sections(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The entries, each parsed on its own, so that a wrong key is answered with the closest one there."""
    found: dict[str, Any] = {}
    if isinstance(pretrain := values.get("pretrain"), Mapping):
        found["pretrain"] = {
            str(name): parse(PretrainEntry, _mapping(entry, f"{where}, pretrain.{name}"), f"{where}, pretrain.{name}")
            for name, entry in pretrain.items()
        }
    for section, model in (("evaluate", EvaluateEntry), ("tables", PublishedTable)):
        if isinstance(entries := values.get(section), list):
            places = [(f"{where}, {section}[{number}]", entry) for number, entry in enumerate(entries)]
            found[section] = tuple(parse(model, _mapping(entry, place), place) for place, entry in places)
    return found


def _parameters(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    return dict(_mapping(values.get("parameters") or {}, f"{where}, parameters"))


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UserError(f"In {where}: expected settings (key: value), got {value!r}.")
    return value


def _dotted(values: dict[str, Any], where: str) -> dict[str, Any]:
    """`values` with every `settings` of them under dotted keys, so that assignments find what they replace."""
    result = dict(values)
    if isinstance(values.get("pretrain"), Mapping):
        result["pretrain"] = {
            name: _dotted_entry(entry, f"{where}, pretrain.{name}") for name, entry in values["pretrain"].items()
        }
    if isinstance(values.get("evaluate"), list):
        places = enumerate(values["evaluate"])
        result["evaluate"] = [_dotted_entry(entry, f"{where}, evaluate[{number}]") for number, entry in places]
    done: dict[str, Any] = _dotted_entry(result, where)
    return done


def _dotted_entry(entry: Any, where: str) -> Any:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("settings"), Mapping):
        return entry
    return {**entry, "settings": flat_settings(entry["settings"], f"{where}, settings")}


def _assign(values: Mapping[str, Any], assignment: str) -> dict[str, Any]:
    """An assignment; what stands below a `settings` is made under its dotted key, after all others."""
    pattern = r"(?:pretrain\.(?P<name>.+?)\.)?settings\.(?P<key>[^=]+)=(?P<text>.*)"
    found = re.fullmatch(pattern, assignment.strip(), re.DOTALL)
    if found is None:
        return override(values, [assignment])
    result = override(values, [])
    holder: Any = result
    if found["name"] is not None:
        entries = result.get("pretrain") or {}
        if found["name"] not in entries:
            raise unknown("pretraining", found["name"], entries)
        holder = entries[found["name"]]
    key = found["key"].strip()
    others = {old: item for old, item in (holder.get("settings") or {}).items() if not f"{old}.".startswith(f"{key}.")}
    holder["settings"] = {**others, key: read_scalar(found["text"])}
    return result


def _check_parameters(declared: Mapping[str, Any], given: Mapping[str, Any], where: str) -> None:
    for name in given:
        if name not in declared:
            raise unknown(f"parameter of {where}", name, declared)
        if name in RESERVED or not name.isidentifier():
            raise UserError(f"In {where}: a parameter cannot be called '{name}'.")
