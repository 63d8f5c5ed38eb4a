"""What names tell: floors, twins, methods and their seeds."""

from __future__ import annotations

import pytest

from ssl_ce.evaluators.judge import untrained_twin
from ssl_ce.report.standing import is_floor, method_of, twin_of


@pytest.mark.parametrize(
    "name",
    ["hog", "hog?cell=4", "pixels", "telea", "init:runs/x@conv3", "random:alexnet", "random:timm:resnet18",
     "nearest:hog", "nearest?complete=telea&k=20&fill=poisson:hog", "nearest:init:runs/x", "scene-completion"],
)  # fmt: skip
def test_what_learned_nothing_is_a_floor(name):
    assert is_floor(name)


@pytest.mark.parametrize(
    "name",
    ["runs/x", "runs/x@conv3", "torchvision:alexnet", "file:w.pt?encoder=alexnet", "nearest:runs/x", "fill:runs/x",
     "nearest?complete=runs/x:hog", "hoggish", "runs/hog", ""],
)  # fmt: skip
def test_what_may_have_learned_something_is_none(name):
    assert not is_floor(name)


@pytest.mark.parametrize(
    "name",
    [
        "runs/x@conv3?pool=2",
        "nearest:runs/x",
        "nearest?index=full:runs/x@conv",
        "torchvision:alexnet",
        "timm:vit",
        "file:w.pt@conv3?encoder=vgg11",
    ],
)
def test_a_twin_is_found_back_from_its_name(name):
    twin = untrained_twin(name)
    assert twin is not None
    assert twin_of(twin) == name
    assert twin_of(name) is None


def test_a_subject_that_is_nobodys_twin_has_none():
    assert [twin_of(name) for name in ("hog", "random:alexnet", "nearest:hog")] == [None] * 3


@pytest.mark.parametrize(
    ("name", "method", "seeds"),
    [
        ("runs/suite/vae-s2@conv3", "runs/suite/vae-s*@conv3", ("2",)),
        ("init:runs/suite/vae-s10", "init:runs/suite/vae-s*", ("10",)),
        ("nearest:runs/a-s0@conv1?pool=2", "nearest:runs/a-s*@conv1?pool=2", ("0",)),
        ("nearest?complete=runs/b-s1:hog", "nearest?complete=runs/b-s*:hog", ("1",)),
        ("runs/x", "runs/x", ()),
        ("runs/x-s1/again", "runs/x-s1/again", ()),
        ("timm:vit-s16", "timm:vit-s16", ()),
    ],
)
def test_a_method_is_its_runs_without_their_seeds(name, method, seeds):
    assert method_of(name) == (method, seeds)
