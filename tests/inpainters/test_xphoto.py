from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from ssl_ce.errors import UserError
from ssl_ce.holes import draw
from ssl_ce.inpainters import load_inpainter
from ssl_ce.metrics import hole_metrics
from ssl_ce.randomness import sample_keys


@pytest.fixture
def image() -> torch.Tensor:
    """A smoothed random picture, uint8 (1, 3, 128, 128)."""
    noise = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.avg_pool2d(noise, 5, stride=1, padding=2)
    return (255 * smooth).to(torch.uint8)


@pytest.fixture
def hole() -> torch.Tensor:
    return draw("center", sample_keys(0, 0, torch.arange(1), "test"), 128, 128, {"side": 0.1})


def opencv(image: torch.Tensor, hole: torch.Tensor, algorithm: int, there: int, back: int) -> torch.Tensor:
    """`cv2.xphoto.inpaint` called directly; `there` and `back` convert colours."""
    pixels = np.ascontiguousarray(image.masked_fill(hole, 0)[0].permute(1, 2, 0).numpy())
    filled = np.zeros_like(pixels)
    known = np.where(hole[0, 0].numpy(), 0, 255).astype(np.uint8)
    cv2.xphoto.inpaint(cv2.cvtColor(pixels, there), known, filled, algorithm)
    return torch.from_numpy(cv2.cvtColor(filled, back)).permute(2, 0, 1)[None]


@pytest.mark.parametrize(
    ("name", "algorithm", "there", "back"),
    [
        ("shift-map", "INPAINT_SHIFTMAP", cv2.COLOR_RGB2Lab, cv2.COLOR_Lab2RGB),
        ("fsr", "INPAINT_FSR_FAST", cv2.COLOR_RGB2BGR, cv2.COLOR_BGR2RGB),
        ("fsr?quality=best", "INPAINT_FSR_BEST", cv2.COLOR_RGB2BGR, cv2.COLOR_BGR2RGB),
    ],
)
def test_opencv_is_called_in_the_colours_it_wants(
    name: str, algorithm: str, there: int, back: int, image: torch.Tensor, hole: torch.Tensor
) -> None:
    filled = load_inpainter(name).fill(image, hole)
    expected = opencv(image, hole, getattr(cv2.xphoto, algorithm), there, back)
    assert torch.equal(filled, torch.where(hole, expected, image))


@pytest.mark.parametrize("side", [128, 32, 16])
def test_a_shift_map_has_colours_of_the_context_only(side: int, image: torch.Tensor) -> None:
    """Each is a copy of a pixel, through 8 bits of CIELab and back; in small images too, where not all are reached."""
    part, missing = image[..., :side, :side], torch.zeros(1, 1, side, side, dtype=torch.bool)
    missing[..., side // 4 : side // 2, : side // 2] = True
    filled = load_inpainter("shift-map").fill(part, missing)
    lab = cv2.cvtColor(np.ascontiguousarray(part[0].permute(1, 2, 0).numpy()), cv2.COLOR_RGB2Lab)
    copies = cv2.cvtColor(lab, cv2.COLOR_Lab2RGB)
    known = {tuple(colour) for colour in copies[~missing[0, 0].numpy()].tolist()}
    assert {tuple(colour) for colour in filled[0].permute(1, 2, 0)[missing[0, 0]].tolist()} <= known


def test_a_shift_map_continues_a_pattern() -> None:
    """Where the mean colour, and whatever smooths, loses it: a chequered ramp with some noise."""
    y, x = np.mgrid[:96, :96]
    noise = np.random.default_rng(0).integers(0, 30, (96, 96, 3))
    pixels = (120 * ((x // 6 + y // 6) % 2) + y)[..., None] + noise
    images = torch.from_numpy(pixels.astype(np.uint8).transpose(2, 0, 1).copy())[None]
    holes = torch.zeros(1, 1, 96, 96, dtype=torch.bool)
    holes[..., 40:64, 30:50] = True
    found, mean, telea = (
        hole_metrics(load_inpainter(name).fill(images, holes), images, holes)["psnr"][0]
        for name in ("shift-map", "mean-color", "telea")
    )
    assert found > max(mean, telea) + 5


def test_a_shift_map_of_a_number_from_beyond_is_refused(monkeypatch: pytest.MonkeyPatch, image: torch.Tensor) -> None:
    """OpenCV's result as it is when the shift by nothing is another: context beside the hole has moved."""
    hole = torch.zeros(1, 1, 128, 128, dtype=torch.bool)
    hole[..., 40:60, 40:60] = True

    def inpaint(pixels: np.ndarray, known: np.ndarray, filled: np.ndarray, algorithm: int) -> None:
        filled[:] = np.roll(pixels, 7, axis=0)

    monkeypatch.setattr(cv2.xphoto, "inpaint", inpaint)
    with pytest.raises(UserError, match="fewer than 60 shifts in an image that is too plain"):
        load_inpainter("shift-map").fill(image, hole)


def test_a_quality_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match=r"quality of 'fsr' named 'fsat'\. Did you mean fast"):
        load_inpainter("fsr?quality=fsat")
    with pytest.raises(UserError, match="quality of 'fsr' named '3'"):
        load_inpainter("fsr?quality=3")


@pytest.mark.parametrize("name", ["shift-map", "fsr"])
def test_an_opencv_without_extra_modules_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "xphoto")
    with pytest.raises(UserError, match="pip install opencv-contrib-python-headless"):
        load_inpainter(name)
