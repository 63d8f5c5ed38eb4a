from __future__ import annotations

import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from ssl_ce.errors import UserError
from ssl_ce.holes import draw
from ssl_ce.inpainters import load_inpainter
from ssl_ce.inpainters.base import Inpainter
from ssl_ce.inpainters.classical import MeanColor, NavierStokes, Telea
from ssl_ce.metrics import hole_metrics, psnr_from_l2
from ssl_ce.randomness import sample_keys

FACADES = Path(__file__).parents[3] / "shared" / "data" / "facades.tar"
CLASSICAL = (MeanColor, Telea, NavierStokes)


@pytest.fixture(params=CLASSICAL)
def inpainter(request: pytest.FixtureRequest) -> Inpainter:
    return request.param()  # type: ignore[no-any-return]


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (5, 3, 30, 41), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.fixture
def holes() -> torch.Tensor:
    return draw("random-region", sample_keys(0, 0, torch.arange(5), "test"), 30, 41)


def test_the_context_comes_back_bit_for_bit(inpainter: Inpainter, images: torch.Tensor, holes: torch.Tensor) -> None:
    before = images.clone()
    filled = inpainter.fill(images, holes)
    assert isinstance(inpainter, Inpainter)
    assert (filled.dtype, filled.shape) == (torch.uint8, images.shape)
    assert torch.equal(filled.masked_fill(holes, 0), images.masked_fill(holes, 0))
    assert torch.equal(images, before)


def test_what_is_under_a_hole_is_never_looked_at(
    inpainter: Inpainter, images: torch.Tensor, holes: torch.Tensor
) -> None:
    filled = inpainter.fill(images, holes)
    for under in (0, 255):
        assert torch.equal(inpainter.fill(images.masked_fill(holes, under), holes), filled)


def test_a_batch_is_filled_as_its_images_are_alone(
    inpainter: Inpainter, images: torch.Tensor, holes: torch.Tensor
) -> None:
    alone = [inpainter.fill(images[i : i + 1], holes[i : i + 1]) for i in range(5)]
    assert torch.equal(inpainter.fill(images, holes), torch.cat(alone))
    assert inpainter.fill(images[:0], holes[:0]).shape == (0, 3, 30, 41)


def test_the_order_of_channels_does_not_matter(inpainter: Inpainter, images: torch.Tensor, holes: torch.Tensor) -> None:
    assert torch.equal(inpainter.fill(images.flip(1), holes).flip(1), inpainter.fill(images, holes))


def test_the_mean_colour_is_that_of_the_context_rounded(images: torch.Tensor, holes: torch.Tensor) -> None:
    filled = MeanColor().fill(images, holes)
    for image, hole, result in zip(images.numpy(), holes[:, 0].numpy(), filled.numpy(), strict=True):
        expected = np.round(image[:, ~hole].mean(1))
        assert (result[:, hole] == expected[:, None]).all()


@pytest.mark.parametrize(("kind", "flag"), [(Telea, cv2.INPAINT_TELEA), (NavierStokes, cv2.INPAINT_NS)])
def test_opencv_is_called_with_the_radius(
    kind: type[Telea], flag: int, images: torch.Tensor, holes: torch.Tensor
) -> None:
    for radius in (3, 5):
        image = np.ascontiguousarray(images.masked_fill(holes, 0)[0].permute(1, 2, 0).numpy())
        expected = cv2.inpaint(image, holes[0, 0].numpy().astype(np.uint8), radius, flag)
        filled = kind(radius=radius).fill(images[:1], holes[:1])
        np.testing.assert_array_equal(filled[0].permute(1, 2, 0).numpy()[holes[0, 0]], expected[holes[0, 0]])


def test_names_make_them_again_and_options_count_in_the_identity() -> None:
    names = ("mean-color", "telea", "telea?radius=3", "navier-stokes", "navier-stokes?radius=3")
    loaded = [load_inpainter(name) for name in names]
    assert tuple(inpainter.name for inpainter in loaded) == names
    assert len({inpainter.identity for inpainter in loaded}) == len(names)
    assert load_inpainter("telea?radius=5").identity == load_inpainter("telea").identity


def test_a_senseless_radius_or_a_hole_over_everything_is_refused(
    inpainter: Inpainter, images: torch.Tensor, holes: torch.Tensor
) -> None:
    with pytest.raises(UserError, match="radius as a whole number"):
        Telea(radius=0)
    with pytest.raises(UserError, match="no context"):
        inpainter.fill(images, torch.ones_like(holes))


@pytest.mark.skipif(not FACADES.exists(), reason="the facades photos are not here")
def test_the_reference_rows_on_facades_come_out(tmp_path: Path) -> None:
    """L1 %, L2 %, mean of per-image PSNR and PSNR of mean L2 in dB, measured apart from this code."""
    with tarfile.open(FACADES) as archive:
        members = [m for m in archive.getmembers() if m.name.startswith("test/photo/") and m.isfile()]
        archive.extractall(tmp_path, members, filter="data")
    photos = [Image.open(path).convert("RGB") for path in sorted((tmp_path / "test" / "photo").iterdir())]
    pixels = np.stack([np.asarray(photo.resize((128, 128), Image.Resampling.BICUBIC)) for photo in photos])
    truth = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())
    assert len(truth) == 106
    holes = torch.zeros(1, 1, 128, 128, dtype=torch.bool)
    holes[..., 32:96, 32:96] = True
    for kind, l1, l2, psnr, psnr_of_mean in (
        (MeanColor, 16.00, 3.77, 14.83, 14.23),
        (Telea, 13.40, 3.22, 15.59, 14.93),
        (NavierStokes, 13.66, 3.34, 15.41, 14.76),
    ):
        found = hole_metrics(kind().fill(truth, holes), truth, holes)
        assert 100 * found["l1"].mean() == pytest.approx(l1, abs=0.05)
        assert 100 * found["l2"].mean() == pytest.approx(l2, abs=0.05)
        assert found["psnr"].mean() == pytest.approx(psnr, abs=0.05)
        assert psnr_from_l2(found["l2"].mean()) == pytest.approx(psnr_of_mean, abs=0.05)
