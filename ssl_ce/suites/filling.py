"""Settings as suites write them: dotted keys, and "{name}" that stands for a value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from ssl_ce.errors import UserError
from ssl_ce.suites.running import flat

_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")


def fill(value: Any, variables: Mapping[str, Any], where: str, *, strict: bool = True) -> Any:
    """`value` with every "{name}" in its texts replaced; a text that is exactly "{name}" becomes the value itself.

    Lists and mappings are filled throughout, but for their keys. "{{" and "}}" stand for braces. What is not
    among `variables` is an error (`strict`), or left as it is for somebody else to fill.

    Raises
    ------
    UserError
        If a name is unknown; `where` says in which part of the suite.
    """
    if isinstance(value, Mapping):
        return {key: fill(item, variables, where, strict=strict) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [fill(item, variables, where, strict=strict) for item in value]
    if not isinstance(value, str):
        return value
    whole = _BRACES.fullmatch(value)
    if whole is not None and whole[1] in variables:
        return variables[whole[1]]

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        if name in variables:
            return str(variables[name])
        if not strict:
            return match[0]
        if name is None:
            return match[0][0]
        known = ", ".join(variables) or "none"
        raise UserError(f"In {where}: nothing is called '{{{name}}}' here. Known: {known}.")

    return _BRACES.sub(replace, value)


def flat_settings(settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Settings under dotted keys, in the order in which they are made; sections below plain keys are taken apart.

    A mapping under a dotted key replaces what was there, as it does after --set.
    """
    found: dict[str, Any] = {}
    for key, value in settings.items():
        for dotted, item in ({key: value} if "." in key else flat({key: value})).items():
            if dotted in found:
                raise UserError(f"In {where}: '{dotted}' is set twice.")
            found[dotted] = item
    return found


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The opposite: {"costs.count": 9} -> {"costs": {"count": 9}}."""
    result: dict[str, Any] = {}
    for key, value in settings.items():
        *parents, last = key.split(".")
        section = result
        for parent in parents:
            child = section.get(parent)
            section[parent] = section = dict(child) if isinstance(child, Mapping) else {}
        section[last] = value
    return result


def as_assignments(settings: Mapping[str, Any]) -> list[str]:
    """Settings as --set takes them: {"optim.lr": 0.1} -> ["optim.lr=0.1"]."""
    return [f"{key}={_written(value)}" for key, value in settings.items()]


def _written(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10**9, allow_unicode=True)
    return text.removesuffix("\n...\n").strip()
