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
from ssl_ce.inpainters import inpainters, load_inpainter, searches
from ssl_ce.inpainters.base import Inpainter
from ssl_ce.inpainters.classical import MeanColor, NavierStokes, Telea
from ssl_ce.metrics import hole_metrics, psnr_from_l2
from ssl_ce.randomness import sample_keys

FACADES = Path(__file__).parents[3] / "shared" / "data" / "facades.tar"


@pytest.fixture(params=[name for name in inpainters.names() if not searches(name)])
def inpainter(request: pytest.FixtureRequest) -> Inpainter:
    return load_inpainter(request.param)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, 30, 41), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.fixture
def holes() -> torch.Tensor:
    return draw("random-region", sample_keys(0, 0, torch.arange(2), "test"), 30, 41)


def border_holes(height: int, width: int) -> dict[str, torch.Tensor]:
    """Holes that touch the border: a corner, the right half, all but the middle, every other row; and one pixel."""
    holes = {
        name: torch.zeros(height, width, dtype=torch.bool) for name in ("corner", "half", "frame", "rows", "pixel")
    }
    holes["corner"][: height // 2, : width // 2] = True
    holes["half"][:, width // 2 :] = True
    holes["frame"][:] = True
    holes["frame"][height // 4 : height // 2, width // 4 : width // 2] = False
    holes["rows"][::2] = True
    holes["pixel"][height // 2, width // 2] = True
    return holes


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
    assert torch.equal(inpainter.fill(images.masked_fill(holes, 255), holes), filled)


def test_a_batch_is_filled_as_its_images_are_alone(
    inpainter: Inpainter, images: torch.Tensor, holes: torch.Tensor
) -> None:
    alone = [inpainter.fill(images[i : i + 1], holes[i : i + 1]) for i in range(2)]
    assert torch.equal(inpainter.fill(images, holes), torch.cat(alone))
    assert inpainter.fill(images[:0], holes[:0]).shape == (0, 3, 30, 41)


def test_the_number_of_workers_does_not_matter_and_opencv_gets_its_threads_back(
    inpainter: Inpainter, images: torch.Tensor, holes: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, found = cv2.getNumThreads(), []
    for threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        found.append(inpainter.fill(images, holes))
    assert torch.equal(*found)
    assert cv2.getNumThreads() == before


@pytest.mark.parametrize("size", [(30, 41), (16, 16), (5, 9)])
def test_an_image_of_one_colour_is_restored_whatever_is_missing(inpainter: Inpainter, size: tuple[int, int]) -> None:
    """So no black from under the hole leaks in, and no pixel is left unfilled, at the image's border neither.

    To a level, for FSR works in YCbCr and the shift-map in CIELab; OpenCV's Telea is up to 5 levels off.
    """
    images = torch.tensor([200, 77, 13], dtype=torch.uint8)[None, :, None, None].expand(1, 3, *size).contiguous()
    for name, hole in border_holes(*size).items():
        difference = (inpainter.fill(images, hole[None, None]).int() - images.int()).abs().max()
        assert difference <= (5 if inpainter.name == "telea" else 1), name


def test_an_image_without_a_hole_comes_back_and_its_neighbours_are_filled(
    inpainter: Inpainter, images: torch.Tensor, holes: torch.Tensor
) -> None:
    some = holes.clone()
    some[::2] = False
    expected = torch.where(some, inpainter.fill(images, holes), images)
    assert torch.equal(inpainter.fill(images, some), expected)


@pytest.mark.parametrize("name", ["telea", "navier-stokes", "biharmonic", "fsr", "fsr?quality=best"])
def test_a_smooth_ramp_is_restored_better_than_by_the_mean_colour(name: str) -> None:
    y, x = np.mgrid[:64, :64]
    ramp = np.stack([2 * y + x, 190 - 2 * x, 20 + y + 2 * x]).astype(np.uint8)
    images = torch.from_numpy(ramp)[None]
    holes = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    holes[..., 24:36, 20:34] = True
    found, mean = (
        hole_metrics(load_inpainter(one).fill(images, holes), images, holes)["psnr"][0] for one in (name, "mean-color")
    )
    assert found > mean + 3


@pytest.mark.parametrize("name", ["mean-color", "telea", "navier-stokes", "biharmonic"])
def test_the_order_of_channels_does_not_matter(name: str, images: torch.Tensor, holes: torch.Tensor) -> None:
    inpainter = load_inpainter(name)
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
    names = (
        "mean-color", "telea", "telea?radius=3", "navier-stokes", "navier-stokes?radius=3", "biharmonic", "shift-map",
        "fsr", "fsr?quality=best",
    )  # fmt: skip
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
@pytest.mark.parametrize(
    ("name", "l1", "l2", "psnr", "psnr_of_mean"),
    [
        ("mean-color", 16.00, 3.77, 14.83, 14.23),
        ("telea", 13.40, 3.22, 15.59, 14.93),
        ("navier-stokes", 13.66, 3.34, 15.41, 14.76),
        pytest.param("biharmonic", 21.18, 7.73, 11.91, 11.12, marks=pytest.mark.slow),
        pytest.param("shift-map", 15.84, 4.78, 14.31, 13.20, marks=pytest.mark.slow),
        pytest.param("fsr", 13.63, 3.26, 15.59, 14.87, marks=pytest.mark.slow),
    ],
)
def test_the_reference_rows_on_facades_come_out(
    name: str, l1: float, l2: float, psnr: float, psnr_of_mean: float, facades: torch.Tensor
) -> None:
    """L1 %, L2 %, mean of per-image PSNR and PSNR of mean L2 in dB, measured apart from this code."""
    holes = torch.zeros(1, 1, 128, 128, dtype=torch.bool)
    holes[..., 32:96, 32:96] = True
    found = hole_metrics(load_inpainter(name).fill(facades, holes), facades, holes)
    assert 100 * found["l1"].mean() == pytest.approx(l1, abs=0.05)
    assert 100 * found["l2"].mean() == pytest.approx(l2, abs=0.05)
    assert found["psnr"].mean() == pytest.approx(psnr, abs=0.05)
    assert psnr_from_l2(found["l2"].mean()) == pytest.approx(psnr_of_mean, abs=0.05)


@pytest.fixture(scope="module")
def facades(tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    """The 106 test photographs at 128 pixels, uint8 (106, 3, 128, 128)."""
    folder = tmp_path_factory.mktemp("facades")
    with tarfile.open(FACADES) as archive:
        members = [m for m in archive.getmembers() if m.name.startswith("test/photo/") and m.isfile()]
        archive.extractall(folder, members, filter="data")
    photos = [Image.open(path).convert("RGB") for path in sorted((folder / "test" / "photo").iterdir())]
    pixels = np.stack([np.asarray(photo.resize((128, 128), Image.Resampling.BICUBIC)) for photo in photos])
    assert len(pixels) == 106
    return torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())
