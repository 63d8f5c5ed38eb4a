"""Configuration: strict pydantic models, `--set key=value` overrides, and errors that name the closest valid key."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ssl_ce.errors import UserError, one_line

M = TypeVar("M", bound=BaseModel)

# In which numbers networks compute. YAML and --set read 32 as a number.
Precision = Annotated[Literal["auto", "32", "bf16"], BeforeValidator(str)]

Width = Annotated[float, Field(gt=0, le=16)]
"""A factor of a network's channels."""

Side = Annotated[int, Field(gt=0, le=4096)]
"""The side of the square images that a network takes, in pixels."""

Size = Annotated[int, Field(gt=0, le=1 << 16)]
"""A number of channels or units of one layer, or of layers."""

# Recipes and suites have a few thousand bytes; a thousand times as much takes PyYAML minutes.
_MOST_BYTES = 1 << 17
# Characters that a file may stand for once its aliases are written out.
_MOST_CHARACTERS = 1 << 20
_SHOWN = 200


class Settings(BaseModel):
    """Base of every configuration section: frozen, and a key that does not exist is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


def parse(model: type[M], values: Mapping[str, Any], where: str) -> M:
    """`values` as a `model`; `where` names their origin in messages ("recipe quickstart.yaml").

    Raises
    ------
    UserError
        One line with the path of the first wrong key, what is wrong with it, and the closest valid key.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            message = f"'{path}' is not a setting. {_closest_key(model, [str(part) for part in first['loc']])}"
        elif first["type"] == "missing":
            message = f"'{path}' is missing"
        else:
            given = one_line(repr(first.get("input")), _SHOWN)
            detail = first["msg"].removeprefix("Value error, ")
            message = f"'{path}' is {given}: {detail}" if path else detail
        end = "" if message.endswith(("?", ".")) else "."
        raise UserError(f"In {where}: {message}{end}") from error


def override(values: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """`values` with assignments like `optim.lr=1e-3` made (the right side is read as YAML). The input is unchanged."""
    result = _copy(values)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise UserError(f"--set takes key=value, for example optim.lr=1e-3; '{assignment}' is not of that form.")
        section = result
        *parents, last = key.strip().split(".")
        for parent in parents:
            child = section.get(parent)
            if child is None:
                child = section[parent] = {}
            if not isinstance(child, dict):
                raise UserError(f"--set {assignment}: '{parent}' is a single value, it has no '{last}' below it.")
            section = child
        section[last] = read_scalar(text)
    return result


def read_scalar(text: str) -> Any:
    """A YAML value; unlike YAML 1.1, `1e-3` is a number."""
    try:
        value = _plain_values(text)
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"'{text}' is not a YAML value.") from error
    if isinstance(value, str) and re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+", value):
        return float(value)
    return value


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file of plain values: no tag makes an object.

    Raises
    ------
    UserError
        If it cannot be read, is no YAML, holds something else, or is more than settings ever are.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ValueError(f"it is larger than {_MOST_BYTES:,} bytes")
        values = _plain_values(content.decode())
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark is not None else ""
        raise UserError(f"{path} is not valid YAML{line}: {getattr(error, 'problem', None) or error}.") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold a mapping of settings (key: value); it holds {type(values).__name__}.")
    return values


def _plain_values(text: str) -> Any:
    """What `yaml.safe_load` makes of `text`. Raises `YAMLError`, or `ValueError` where that lets other errors out.

    Nothing is made of a text that is nested too deeply, or becomes too much once its aliases are written out.
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _characters(node, {}) > _MOST_CHARACTERS:
            raise ValueError("its aliases make too much of it, or contain themselves")
        return loader.construct_document(node)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except (AttributeError, TypeError, LookupError) as error:  # of "!!timestamp x", for one
        raise ValueError(str(error)) from error


def _characters(node: yaml.Node, known: dict[int, int]) -> int:
    """How long `node` is with every alias written out; one within what it stands for has no end."""
    if id(node) not in known:
        known[id(node)] = _MOST_CHARACTERS
        parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        inside = len(parts) if isinstance(parts, str) else sum(_characters(part, known) for part in parts)
        known[id(node)] = 1 + inside
    return known[id(node)]


def dump_yaml(model: BaseModel) -> str:
    """The model as YAML text, keys in the order of their declaration."""
    return str(yaml.safe_dump(model.model_dump(mode="json"), sort_keys=False, allow_unicode=True))


def _copy(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in values.items()}


def _closest_key(model: type[BaseModel], location: list[str]) -> str:
    *parents, key = location
    section: type[BaseModel] | None = model
    for parent in parents:
        field = section.model_fields.get(parent) if section is not None else None
        section = _model_of(field.annotation) if field is not None else None
    known = list(section.model_fields) if section is not None else []
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    prefix = ".".join(parents)
    if close:
        return f"Did you mean '{prefix + '.' if prefix else ''}{close[0]}'?"
    return f"Valid here: {', '.join(known)}." if known else ""


def _model_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType):
        return next((found for part in get_args(annotation) if (found := _model_of(part))), None)
    return None
