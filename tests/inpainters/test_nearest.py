from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from ssl_ce.data.imageset import Indices, Task
from ssl_ce.descriptors.cache import FeatureCache
from ssl_ce.descriptors.pixels import Pixels
from ssl_ce.errors import UserError
from ssl_ce.files import digest
from ssl_ce.holes import draw, draw_bank
from ssl_ce.inpainters.base import Inpainter
from ssl_ce.inpainters.classical import MeanColor, Telea
from ssl_ce.inpainters.fitting import band_around
from ssl_ce.inpainters.nearest import MOST_HOLES, Index, Nearest
from ssl_ce.randomness import sample_keys

SIDE = 16


class Photos:
    """An image set in memory that counts what is read of it."""

    name, split, classes = "photos", "train", ()
    task: Task = "none"

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images
        self.size: tuple[int, int] | None = (images.shape[2], images.shape[3])
        self.fingerprint = digest(images.numpy().tobytes())
        self.source: dict[str, Any] = {}
        self.most_read = 0

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: Indices) -> torch.Tensor:
        self.most_read = max(self.most_read, len(indices))
        return self.images[torch.as_tensor(indices)]

    def read_one(self, index: int) -> torch.Tensor:
        return self.images[index]

    def targets(self, indices: Indices | None = None) -> NDArray[np.int64]:
        raise NotImplementedError


def photos(seed: int, count: int) -> torch.Tensor:
    return torch.randint(
        0, 256, (count, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )


@pytest.fixture
def index() -> Photos:
    return Photos(photos(0, 40))


@pytest.fixture
def inpainter(index: Photos, tmp_path: Path) -> Nearest:
    return Nearest(Pixels(side=SIDE), index, FeatureCache(tmp_path, batch_size=8))


@pytest.fixture
def holes() -> torch.Tensor:
    bank = draw_bank("random-region", 3, 0, SIDE, SIDE)
    return bank[[0, 1, 2, 1, 0, 0]]


def test_the_nearest_is_found_by_the_context_alone_and_its_region_pasted(
    inpainter: Nearest, index: Photos, holes: torch.Tensor
) -> None:
    images = photos(1, 6)
    neighbours = inpainter.neighbours(images, holes, 2)
    filled = inpainter.fill(images, holes)
    for i in range(6):
        missing = holes[i, 0].numpy()
        context, contexts = (x.double().numpy()[..., ~missing] / 255 for x in (images[i], index.images))
        # A missing pixel is described by the mean colour of its context.
        query = np.concatenate([context, *[context.mean(1, keepdims=True)] * missing.sum()], 1).ravel()
        base = np.concatenate([contexts, *[contexts.mean(2, keepdims=True)] * missing.sum()], 2).reshape(40, -1)
        similarity = base @ query / np.linalg.norm(base, axis=1)
        expected = np.argsort(-similarity)[:2]
        np.testing.assert_array_equal(neighbours[i], expected)
        assert torch.equal(filled[i], torch.where(holes[i], index.images[expected[0]], images[i]))
    assert isinstance(inpainter, Inpainter)


@pytest.mark.parametrize("described", ["bank", "full"])
def test_a_query_that_is_among_the_searched_is_left_out_and_counted(
    described: Index, index: Photos, holes: torch.Tensor, tmp_path: Path
) -> None:
    cache = FeatureCache(tmp_path)
    for place, hole in zip((0, 17, 39), holes[:3, None], strict=True):
        rest = Photos(torch.cat([index.images[:place], index.images[place + 1 :]]))
        query = index.images[place][None].masked_fill(hole, 0)
        expected = Nearest(Pixels(side=SIDE), rest, cache, index=described).neighbours(query, hole, 3)
        inpainter = Nearest(Pixels(side=SIDE), index, cache, index=described)
        np.testing.assert_array_equal(inpainter.neighbours(query, hole, 3), expected + (expected >= place))
        assert inpainter.left_out == 1


def test_many_copies_of_the_query_are_all_left_out(index: Photos, holes: torch.Tensor, tmp_path: Path) -> None:
    copies = Photos(torch.cat([index.images[:1].expand(30, -1, -1, -1), index.images]))
    inpainter = Nearest(Pixels(side=SIDE), copies, FeatureCache(tmp_path))
    found = inpainter.neighbours(index.images[:1], holes[:1], 5)
    assert (found > 30).all()
    assert inpainter.left_out == 31
    only = Nearest(Pixels(side=SIDE), Photos(copies.images[:31]), FeatureCache(tmp_path))
    with pytest.raises(UserError, match="fewer than 1 images"):
        only.fill(index.images[:1], holes[:1])


def test_fewer_searched_images_than_k_are_refused(index: Photos, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"wants 41 neighbours, and 'photos' has 40 images"):
        Nearest(Pixels(), index, FeatureCache(tmp_path), k=41)


@pytest.mark.parametrize("wrong", [{"k": 0}, {"k": "many"}, {"fill": "glue"}, {"align": -1}, {"index": "half"}])
def test_wrong_options_are_refused(wrong: dict[str, Any], index: Photos) -> None:
    with pytest.raises(UserError, match="'nearest"):
        Nearest(Pixels(), index, **wrong)


def test_of_k_neighbours_the_one_that_fits_best_beside_the_hole_is_used(
    index: Photos, holes: torch.Tensor, tmp_path: Path
) -> None:
    images = photos(1, 6)
    inpainter = Nearest(Pixels(side=SIDE), index, FeatureCache(tmp_path), k=7)
    places = inpainter.neighbours(images, holes, 7)
    for row, filled in enumerate(inpainter.fill(images, holes)):
        band = band_around(holes[row]).expand(3, -1, -1)
        errors = [(index.images[place].double() - images[row].double())[band].square().sum() for place in places[row]]
        best = index.images[places[row][int(np.argmin(errors))]]
        assert torch.equal(filled, torch.where(holes[row], best, images[row]))


def test_whole_training_photos_are_described_once_for_any_holes(
    inpainter: Nearest, index: Photos, tmp_path: Path
) -> None:
    holes = draw("random-region", sample_keys(0, 0, torch.arange(20), "test"), SIDE, SIDE)
    images = photos(3, 20)
    full = Nearest(Pixels(side=SIDE), index, FeatureCache(tmp_path), index="full")
    found = full.neighbours(images, holes, 1)
    assert len(list(tmp_path.rglob("*.npy"))) == 1
    queries = Pixels(side=SIDE).describe(images, holes).double()
    base = index.images.flatten(1).double() / 255
    similarity = F.normalize(queries, dim=1) @ F.normalize(base, dim=1).T
    np.testing.assert_array_equal(found[:, 0], similarity.argmax(1).numpy())


def test_a_completed_query_is_described_as_a_whole_image(index: Photos, holes: torch.Tensor, tmp_path: Path) -> None:
    images = photos(4, 6)
    hybrid = Nearest(Pixels(side=SIDE), index, FeatureCache(tmp_path), complete=MeanColor())
    completed = MeanColor().fill(images, holes)
    nothing = torch.zeros_like(holes)
    full = Nearest(Pixels(side=SIDE), index, FeatureCache(tmp_path), index="full")
    np.testing.assert_array_equal(hybrid.neighbours(images, holes, 2), full.neighbours(completed, nothing, 2))


def test_what_is_under_a_hole_is_never_looked_at(inpainter: Nearest, holes: torch.Tensor) -> None:
    images = photos(2, 6)
    assert torch.equal(inpainter.fill(images.masked_fill(holes, 255), holes), inpainter.fill(images, holes))


def test_training_photos_are_described_once_for_each_hole_and_read_in_batches(
    inpainter: Nearest, index: Photos, holes: torch.Tensor, tmp_path: Path
) -> None:
    for seed in range(3):
        inpainter.fill(photos(seed, 6), holes)
    assert len(list(tmp_path.rglob("*.npy"))) == 3
    assert index.most_read <= 8


def test_more_different_holes_than_a_bank_has_are_refused_with_advice(inpainter: Nearest) -> None:
    holes = draw("random-region", sample_keys(0, 0, torch.arange(MOST_HOLES + 1), "test"), SIDE, SIDE)
    images = photos(3, MOST_HOLES + 1)
    inpainter.neighbours(images[:MOST_HOLES], holes[:MOST_HOLES], 1)
    with pytest.raises(UserError, match=r"nn-inpainting.*nearest\?index=full:pixels"):
        inpainter.neighbours(images, holes, 1)


def test_images_of_another_size_are_refused(inpainter: Nearest) -> None:
    holes = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    with pytest.raises(UserError, match="Pack both at one size"):
        inpainter.fill(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), holes)


def test_its_identity_holds_the_descriptor_the_photos_and_the_metric(index: Photos, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    different = [
        Nearest(Pixels(), index, cache),
        Nearest(Pixels(side=4), index, cache),
        Nearest(Pixels(), Photos(photos(9, 40)), cache),
        Nearest(Pixels(), index, cache, metric="l2"),
        Nearest(Pixels(), index, cache, k=2),
        Nearest(Pixels(), index, cache, fill="poisson"),
        Nearest(Pixels(), index, cache, align=1),
        Nearest(Pixels(), index, cache, index="full"),
        Nearest(Pixels(), index, cache, complete=Telea()),
    ]
    assert len({inpainter.identity for inpainter in different}) == len(different)
    assert different[5].name == "nearest?fill=poisson:pixels"
    assert different[8].name == "nearest?complete=telea:pixels"
    assert different[1].name == "nearest:pixels?side=4"
    assert different[0].state_hash() == Pixels().state_hash()


def test_no_images_are_filled_as_none(inpainter: Nearest, holes: torch.Tensor) -> None:
    assert inpainter.fill(photos(0, 0), holes[:0]).shape == (0, 3, SIDE, SIDE)
