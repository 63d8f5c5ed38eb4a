from __future__ import annotations

import pytest
import torch
from torchvision.transforms.v2.functional import resized_crop

from ssl_ce.data.views import center_crop, random_crop, random_flip, random_resized_crop
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


def test_a_resized_crop_of_everything_is_the_image() -> None:
    images = torch.randint(0, 256, (3, 3, 20, 20), dtype=torch.uint8)
    keys = sample_keys(0, 0, torch.arange(3), "view")
    assert torch.equal(random_resized_crop(images, keys, 20, smallest=1.0, aspect=1.0), images)


def test_a_resized_crop_is_the_mean_of_what_it_covers() -> None:
    """Reduced by a whole number it equals torchvision's box of means; where nothing is known it lies between."""
    images = torch.randint(0, 256, (2, 3, 24, 24), dtype=torch.uint8)
    keys = sample_keys(0, 0, torch.arange(2), "view")
    small = random_resized_crop(images, keys, 8, smallest=1.0, aspect=1.0)
    expected = torch.nn.functional.avg_pool2d(images.float(), 3)
    assert (small.float() - expected).abs().max() <= 0.5


def test_a_resized_crop_shows_the_place_that_its_colours_say() -> None:
    """On a ramp of columns (red) and rows (green), an image says itself where its crop came from."""
    rows, columns = torch.meshgrid(torch.arange(100), torch.arange(100), indexing="ij")
    ramp = torch.stack([columns, rows, columns]).to(torch.uint8) * 2
    keys = sample_keys(0, 0, torch.arange(500), "view")
    crops = random_resized_crop(ramp.expand(500, 3, 100, 100), keys, 50, smallest=0.25, aspect=4 / 3).float() / 2
    left, right, top, bottom = crops[:, 0, 25, 0], crops[:, 0, 25, -1], crops[:, 1, 0, 25], crops[:, 1, -1, 25]
    width, height = (right - left) * 50 / 49, (bottom - top) * 50 / 49
    assert min(left.min(), top.min()) >= -0.5
    assert max(right.max(), bottom.max()) <= 99.5
    area = width * height / 1e4
    assert area.min() > 0.24
    assert area.max() > 0.9
    uncut = (width < 97) & (height < 97)
    assert abs(area[uncut & (area < 0.6)].mean() - 0.425) < 0.03
    assert ((width / height)[uncut] < 1.37).all()
    assert ((width / height)[uncut] > 0.73).all()
    for place in range(3):
        box = [round(value.item()) for value in (top[place], left[place], height[place], width[place])]
        near = resized_crop(ramp, *box, [50, 50], antialias=True).float() / 2
        assert (near - crops[place]).abs().max() < 2


@pytest.mark.parametrize(
    "view",
    [
        random_flip,
        lambda images, keys: random_crop(images, keys, 11),
        lambda images, keys: random_resized_crop(images, keys, 11),
    ],
)
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
