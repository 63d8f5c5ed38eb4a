from __future__ import annotations

import pytest
import torch

from ssl_ce.data.views import center_crop, random_crop, random_flip
from ssl_ce.errors import UserError
from ssl_ce.randomness import sample_keys


def batch(n: int, side: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.randint(0, 256, (n, 3, side, side + 5), dtype=torch.uint8)
    return images, sample_keys(3, 1, torch.arange(n), "view")


def test_a_random_crop_is_a_window_of_its_own_image() -> None:
    images, keys = batch(8)
    crops = random_crop(images, keys, 12)
    assert crops.shape == (8, 3, 12, 12)
    assert crops.dtype == torch.uint8
    for image, crop in zip(images, crops, strict=True):
        windows = image.unfold(1, 12, 1).unfold(2, 12, 1)  # (3, rows, columns, 12, 12)
        assert (windows == crop[:, None, None]).all(dim=4).all(dim=3).all(dim=0).sum() == 1


def test_crops_reach_every_place_equally_often() -> None:
    image = torch.arange(4, dtype=torch.uint8).expand(1, 3, 4, 4)
    crops = random_crop(image.expand(4000, 3, 4, 4), sample_keys(0, 0, torch.arange(4000), "crop"), 2)
    counts = torch.bincount(crops[:, 0, 0, 0].long(), minlength=4)
    assert counts[3] == 0
    assert (counts[:3] - 4000 / 3).abs().max() < 5 * (4000 * 2 / 9) ** 0.5


def test_a_flip_mirrors_about_half_of_the_images_and_leaves_the_rest() -> None:
    images, keys = batch(400)
    flipped = random_flip(images, keys)
    same = (flipped == images).flatten(1).all(1)
    mirrored = (flipped == images.flip(-1)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 150 < int(mirrored.sum()) < 250


@pytest.mark.parametrize("view", [random_flip, lambda images, keys: random_crop(images, keys, 11)])
def test_a_view_depends_on_its_key_alone_not_on_the_batch(view: object) -> None:
    images, keys = batch(16)
    together = view(images, keys)  # type: ignore[operator]
    order = torch.randperm(16)
    assert torch.equal(view(images[order], keys[order]), together[order])  # type: ignore[operator]
    alone = [view(images[i : i + 1], keys[i : i + 1]) for i in range(16)]  # type: ignore[operator]
    assert torch.equal(torch.cat(alone), together)


def test_the_center_crop_is_central() -> None:
    images, _ = batch(2)
    assert torch.equal(center_crop(images, 10), images[..., 5:15, 7:17])


@pytest.mark.parametrize("size", [0, 21])
def test_a_crop_that_does_not_fit_is_refused(size: int) -> None:
    images, keys = batch(2)
    with pytest.raises(UserError, match="does not fit"):
        random_crop(images, keys, size)
    with pytest.raises(UserError, match="does not fit"):
        center_crop(images, size)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_makes_the_same_views() -> None:
    images, keys = batch(16)
    on_gpu = random_flip(random_crop(images.cuda(), keys.cuda(), 9), keys.cuda())
    assert torch.equal(on_gpu.cpu(), random_flip(random_crop(images, keys, 9), keys))
