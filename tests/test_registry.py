from importlib import metadata

import pytest

from ssl_ce.errors import UserError
from ssl_ce.registry import Registry


def registry_of() -> Registry:
    registry: Registry = Registry("shape", "ssl_ce.test_shapes")
    registry.add("square", "math:sqrt", "a square")
    registry.add("circle", "math:pi", "a circle")
    return registry


def test_a_target_is_imported_when_it_is_asked_for():
    import math

    assert registry_of().get("square") is math.sqrt


def test_an_unknown_name_answers_with_the_closest():
    with pytest.raises(UserError, match=r"no shape named 'squar'\. Did you mean square"):
        registry_of().get("squar")
    with pytest.raises(UserError, match="Known: circle, square"):
        registry_of().get("xyz")


def test_a_name_taken_twice_is_an_error():
    with pytest.raises(UserError, match="Two shapes are named 'square'"):
        registry_of().add("square", "math:e", "another")


def test_a_target_that_cannot_be_imported_is_named():
    registry = registry_of()
    registry.add("broken", "no_such_module_here:x", "broken")
    with pytest.raises(UserError, match=r"'broken' could not be loaded from no_such_module_here"):
        registry.get("broken")


def test_plug_ins_come_by_entry_points(monkeypatch: pytest.MonkeyPatch):
    point = metadata.EntryPoint("triangle", "math:tau", "ssl_ce.test_shapes")
    monkeypatch.setattr(metadata, "entry_points", lambda group: [point] if group == "ssl_ce.test_shapes" else [])
    registry = registry_of()
    assert registry.names() == ["square", "circle", "triangle"]
    assert registry.get("triangle") == pytest.approx(6.283185307)
