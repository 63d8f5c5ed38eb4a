"""One registry class for every kind of thing that plugs in: methods, descriptors, evaluators, holes, ...

Targets are lazy (`"module:attribute"`), so that listing names imports nothing heavy, and third-party packages
add theirs through entry points of the registry's group, for example in their pyproject.toml:

    [project.entry-points."ssl_ce.holes"]
    stripes = "my_package.holes:stripes"
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Generic, TypeVar, cast

from ssl_ce.errors import UserError, unknown

T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """A registered name: where its target lives (`module:attribute`) and what it is, in one line."""

    name: str
    target: str
    summary: str


class Registry(Generic[T]):
    """Names of one kind, mapped to lazily imported targets.

    Parameters
    ----------
    kind
        What one entry is called in messages: "descriptor".
    group
        Entry-point group that plug-ins use: "ssl_ce.descriptors".
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self.group = group
        self._entries: dict[str, Entry] = {}
        self._loaded: dict[str, T] = {}
        self._plugins_read = False

    def add(self, name: str, target: str | T, summary: str) -> None:
        """Register `target`, an object or its `"module:attribute"`. A name taken twice is an error."""
        if name in self._entries:
            raise UserError(
                f"Two {self.kind}s are named '{name}': {self._entries[name].target} and {target}. Rename one of them."
            )
        if isinstance(target, str):
            self._entries[name] = Entry(name, target, summary)
        else:
            where = f"{getattr(target, '__module__', '?')}:{getattr(target, '__qualname__', name)}"
            self._entries[name] = Entry(name, where, summary)
            self._loaded[name] = target

    def remove(self, name: str) -> None:
        """Forget `name` (for tests and notebooks that register something twice)."""
        self._entries.pop(name, None)
        self._loaded.pop(name, None)

    def get(self, name: str) -> T:
        """The target registered under `name`, imported now if it was not before.

        Raises
        ------
        UserError
            If nothing has that name (the closest names are given), or its module cannot be imported.
        """
        self._read_plugins()
        if name in self._loaded:
            return self._loaded[name]
        if name not in self._entries:
            raise unknown(self.kind, name, self._entries)
        module, _, attribute = self._entries[name].target.partition(":")
        try:
            target: Any = importlib.import_module(module)
            for part in attribute.split("."):
                target = getattr(target, part)
        except (ImportError, AttributeError) as error:
            raise UserError(f"The {self.kind} '{name}' could not be loaded from {module}: {error}.") from error
        self._loaded[name] = cast(T, target)
        return self._loaded[name]

    def entry(self, name: str) -> Entry:
        """The entry of `name`, without importing its target."""
        self._read_plugins()
        if name not in self._entries:
            raise unknown(self.kind, name, self._entries)
        return self._entries[name]

    def names(self) -> list[str]:
        """All registered names, in order of registration."""
        self._read_plugins()
        return list(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        self._read_plugins()
        return iter(list(self._entries.values()))

    def __contains__(self, name: object) -> bool:
        self._read_plugins()
        return name in self._entries

    def _read_plugins(self) -> None:
        if self._plugins_read:
            return
        self._plugins_read = True
        for point in metadata.entry_points(group=self.group):
            origin = point.dist.name if point.dist is not None else point.module
            self.add(point.name, point.value, f"plug-in of {origin}")
