"""References of inpainters, and what holds of every inpainter that searches photographs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ssl_ce.data import DataOptions, open_set
from ssl_ce.data.packing import PackedImages
from ssl_ce.errors import UserError
from ssl_ce.holes import draw
from ssl_ce.inpainters import inpainters, load_inpainter, searches
from ssl_ce.inpainters.nearest import Nearest
from ssl_ce.inpainters.parametric import Parametric
from ssl_ce.methods.saved import build_method
from ssl_ce.randomness import sample_keys

SIDE = 32
SEARCHING = (
    *(name for name in inpainters.names() if searches(name)),
    "nearest:hog",
    "nearest?k=3&fill=seamless-clone:pixels",
    "nearest?k=2&align=2&fill=poisson&index=full:gist",
    "nearest?complete=telea:color-histogram",
)


@pytest.fixture(scope="module")
def searched(photo_folder: Path) -> PackedImages:
    return open_set(str(photo_folder), "train", DataOptions(size=SIDE))


@pytest.fixture(scope="module")
def images(photo_folder: Path) -> torch.Tensor:
    return open_set(str(photo_folder), "test", DataOptions(size=SIDE)).read(range(4))


@pytest.fixture
def holes() -> torch.Tensor:
    holes = draw("random-region", sample_keys(0, 0, torch.arange(4), "test"), SIDE, SIDE)
    holes[0] = False
    holes[0, :, :, :9] = True  # touches three sides
    return holes


@pytest.mark.parametrize("reference", SEARCHING)
def test_the_context_comes_back_and_nothing_leaks_from_under_the_hole(
    reference: str, searched: PackedImages, images: torch.Tensor, holes: torch.Tensor
) -> None:
    inpainter = load_inpainter(reference, searched)
    filled = inpainter.fill(images, holes)
    assert torch.equal(filled.masked_fill(holes, 0), images.masked_fill(holes, 0))
    assert torch.equal(inpainter.fill(images.masked_fill(holes, 255), holes), filled)
    alone = [inpainter.fill(images[i : i + 1], holes[i : i + 1]) for i in range(4)]
    assert torch.equal(torch.cat(alone), filled)
    assert inpainter.name == reference


@pytest.mark.parametrize("reference", SEARCHING)
def test_without_images_to_search_they_are_refused(reference: str) -> None:
    with pytest.raises(UserError, match=r"searches training images, and none were given"):
        load_inpainter(reference)


def test_scene_completion_is_its_parts(searched: PackedImages, images: torch.Tensor, holes: torch.Tensor) -> None:
    named = load_inpainter("scene-completion?k=5", searched)
    spelled = load_inpainter("nearest?k=5&align=4&fill=poisson&index=full:gist", searched)
    assert torch.equal(named.fill(images, holes), spelled.fill(images, holes))
    assert (named.name, named.identity) == ("scene-completion?k=5", spelled.identity)


def test_a_centre_run_that_refuses_a_hole_says_who_it_is(images: torch.Tensor, holes: torch.Tensor) -> None:
    decoder = {"kind": "dcgan", "width": 0.1, "output": "center"}
    config = {"size": SIDE, "encoder": {"name": "dcgan", "width": 0.1}, "decoder": decoder}
    method = build_method({"name": "context-encoder", **config, "holes": {"strategy": "center"}}, 0, "here")
    with pytest.raises(UserError, match=r"^'runs/x': This network was trained to fill the central 16 x 16"):
        Parametric("runs/x", method).fill(images, holes)


def test_a_run_is_an_inpainter_and_a_hybrids_first_half(tiny_run: Path, searched: PackedImages) -> None:
    assert isinstance(load_inpainter(f"fill:{tiny_run}"), Parametric)
    assert load_inpainter(f"fill:{tiny_run}").identity == load_inpainter(str(tiny_run)).identity
    hybrid = load_inpainter(f"nearest?complete={tiny_run}:hog", searched)
    assert isinstance(hybrid, Nearest)
    images, hole = searched.read(range(2)), torch.zeros(2, 1, SIDE, SIDE, dtype=torch.bool)
    hole[..., 8:24, 8:24] = True
    assert hybrid.fill(images, hole).shape == images.shape
    assert hybrid.state_hash() != load_inpainter("nearest:hog", searched).state_hash()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("nearest?neighbours=5:hog", "neighbours"),
        ("nearest?k:hog", "key=value"),
        ("nearest?fill=posson:hog", "poisson"),
        ("nearest?k=2&k=3:hog", "gives k twice"),
        ("nearest?complete=:hog", "takes an inpainter without a colon"),
        ("nearest?complete=fill:runs/x:hog", "takes an inpainter without a colon"),
        ("nearest?k=3", "does not say what describes"),
        ("telea@conv1", "telea' has no taps"),
        ("scene-completion?k=200", "'scene-completion\\?k=200' wants 200 neighbours"),
        ("fill:telea", "what follows fill: is a run"),
        ("fill:nowhere", "nowhere"),
        ("scene-completion?fill=paste", "fill"),
    ],
)
def test_wrong_references_are_answered_in_one_line(wrong: str, told: str, searched: PackedImages) -> None:
    with pytest.raises(UserError, match=told) as refused:
        load_inpainter(wrong, searched)
    assert "\n" not in str(refused.value)
