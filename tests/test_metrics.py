from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from ssl_ce.errors import UserError
from ssl_ce.metrics import PSNR_CAP, hole_metrics, psnr_from_l2


def pair(seed: int, count: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """True images that vary smoothly, fills with noise of growing strength, and scattered regions."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    truth = np.stack(
        [127 + 100 * np.sin(rows / 5 + seed + i) * np.cos(columns / 7 + c) for i in range(count) for c in range(3)]
    )
    truth = truth.reshape(count, 3, height, width)
    noise = rng.normal(size=truth.shape) * 15 * np.arange(1, count + 1)[:, None, None, None]
    filled = np.clip(truth + noise, 0, 255)
    region = rng.random((count, 1, height, width)) < 0.3
    region[:, :, : height // 3] = False
    return torch.from_numpy(filled).byte(), torch.from_numpy(truth).byte(), torch.from_numpy(region)


@pytest.mark.parametrize("size", [(24, 31), (40, 40)])
def test_all_four_equal_scikit_image_and_plain_means(size: tuple[int, int]) -> None:
    filled, truth, region = pair(1, 35, *size)
    found = hole_metrics(filled, truth, region)
    for i in (0, 7, 34):
        x, y = (image[i].permute(1, 2, 0).numpy() / 255.0 for image in (filled, truth))
        inside = region[i, 0].numpy()
        _, full = structural_similarity(
            x,
            y,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1,
            channel_axis=-1,
            full=True,
        )
        assert found["l1"][i] == pytest.approx(np.abs(x - y)[inside].mean(), abs=1e-12)
        assert found["l2"][i] == pytest.approx(np.square(x - y)[inside].mean(), abs=1e-12)
        assert found["psnr"][i] == pytest.approx(peak_signal_noise_ratio(y[inside], x[inside], data_range=1), abs=1e-9)
        assert found["ssim"][i] == pytest.approx(full[inside].mean(), abs=1e-6)
    assert all(values.shape == (35,) and values.dtype == np.float64 for values in found.values())


def test_pixels_outside_the_region_count_in_neither_error() -> None:
    filled, truth, region = pair(2, 2, 20, 20)
    elsewhere = torch.where(region, filled, 255 - truth)
    first, second = hole_metrics(filled, truth, region), hole_metrics(elsewhere, truth, region)
    for name in ("l1", "l2", "psnr"):
        np.testing.assert_array_equal(first[name], second[name])


def test_a_perfect_fill_has_no_error_and_the_capped_psnr() -> None:
    _, truth, region = pair(3, 2, 20, 20)
    found = hole_metrics(truth, truth, region)
    assert found["l1"].tolist() == found["l2"].tolist() == [0, 0]
    assert found["psnr"].tolist() == [PSNR_CAP, PSNR_CAP]
    np.testing.assert_allclose(found["ssim"], 1)


def test_black_for_white_is_as_bad_as_it_gets() -> None:
    white = torch.full((1, 3, 16, 16), 255, dtype=torch.uint8)
    region = torch.ones(1, 1, 16, 16, dtype=torch.bool)
    found = hole_metrics(torch.zeros_like(white), white, region)
    assert found["l1"].tolist() == found["l2"].tolist() == [1]
    assert found["psnr"].tolist() == [0]


def test_psnr_works_on_arrays_and_the_two_conventions_differ() -> None:
    l2 = np.array([0.01, 0.1, 0.0])
    np.testing.assert_allclose(psnr_from_l2(l2), [20, 10, PSNR_CAP])
    assert psnr_from_l2(l2[:2]).mean() > psnr_from_l2(l2[:2].mean())


def test_an_empty_region_or_another_shape_is_refused() -> None:
    filled, truth, region = pair(4, 2, 16, 16)
    with pytest.raises(UserError, match="empty"):
        hole_metrics(filled, truth, torch.zeros_like(region))
    with pytest.raises(UserError, match="differ in shape"):
        hole_metrics(filled[:1], truth, region)
