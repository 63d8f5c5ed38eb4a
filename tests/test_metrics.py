from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from ssl_ce.errors import UserError
from ssl_ce.metrics import PSNR_CAP, fill_metrics, hole_metrics, psnr_from_l2
from ssl_ce.rings import RINGS, l1_by_ring
from ssl_ce.ssim import MS_SSIM_SIDE, ms_ssim


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


def test_the_whole_image_is_scored_as_scikit_image_scores_it() -> None:
    noisy, truth, holes = pair(5, 3, 24, 31)
    filled = torch.where(holes, noisy, truth)
    found = fill_metrics(filled, truth, holes)
    over_the_hole = hole_metrics(filled, truth, holes)
    for i in range(3):
        x, y = (image[i].permute(1, 2, 0).numpy() / 255.0 for image in (filled, truth))
        ssim = structural_similarity(x, y, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1,
                                     channel_axis=-1, full=True)[1].mean()  # fmt: skip
        assert found["image_l1"][i] == pytest.approx(np.abs(x - y).mean(), abs=1e-12)
        assert found["image_l2"][i] == pytest.approx(np.square(x - y).mean(), abs=1e-12)
        assert found["image_psnr"][i] == pytest.approx(peak_signal_noise_ratio(y, x, data_range=1), abs=1e-9)
        assert found["image_ssim"][i] == pytest.approx(ssim, abs=1e-9)
    for name, values in over_the_hole.items():
        np.testing.assert_array_equal(found[name], values)
    assert "image_ms_ssim" not in found


def test_the_seam_is_the_change_of_the_step_across_the_holes_edge() -> None:
    noisy, truth, holes = pair(6, 3, 14, 17)
    holes[0] = False
    holes[0, :, 5:9, :6] = True  # a block at the border, where nothing beyond it is a neighbour
    holes[1] = True
    filled = torch.where(holes, noisy, truth)
    found = fill_metrics(filled, truth, holes)["seam"]
    for i in (0, 2):
        x, y, hole = filled[i].numpy() / 255.0, truth[i].numpy() / 255.0, holes[i, 0].numpy()
        of_steps, of_pixels = [], []
        for row in range(14):
            for column in range(17):
                for other in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
                    inside = 0 <= other[0] < 14 and 0 <= other[1] < 17
                    if inside and hole[row, column] and not hole[other]:
                        step = (image[:, row, column] - image[:, other[0], other[1]] for image in (x, y))
                        of_steps += np.abs(next(step) - next(step)).tolist()
                        of_pixels += np.abs(x[:, row, column] - y[:, row, column]).tolist()
        assert found[i] == pytest.approx(np.mean(of_steps), abs=1e-12)
        assert found[i] == pytest.approx(np.mean(of_pixels), abs=1e-12)
    assert np.isnan(found[1])


@pytest.mark.parametrize("size", [(176, 176), (178, 193)])
def test_ms_ssim_is_that_of_torchmetrics_from_the_size_its_scales_need(size: tuple[int, int]) -> None:
    noisy, truth, holes = (images[1:] for images in pair(7, 2, *size))
    filled = torch.where(holes, noisy, truth)
    expected = multiscale_structural_similarity_index_measure(
        filled.double() / 255, truth.double() / 255, data_range=1.0, reduction="none"
    )
    found = fill_metrics(filled, truth, holes)["image_ms_ssim"]
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert found[0] < 0.99


def test_ms_ssim_is_absent_below_the_size_that_torchmetrics_refuses_too() -> None:
    _, truth, holes = pair(8, 1, MS_SSIM_SIDE, MS_SSIM_SIDE - 1)
    assert "image_ms_ssim" not in fill_metrics(truth, truth, holes)
    with pytest.raises(ValueError, match="width must be larger"):
        multiscale_structural_similarity_index_measure(truth / 255, truth / 255, data_range=1.0)


def test_contrast_that_is_turned_round_counts_as_no_similarity() -> None:
    _, truth, _ = pair(9, 1, MS_SSIM_SIDE, MS_SSIM_SIDE)
    image = truth[0].numpy() / 255.0
    assert ms_ssim(1 - image, image) == 0.0


def test_an_exact_fill_is_perfect_by_every_metric() -> None:
    _, truth, holes = pair(10, 1, MS_SSIM_SIDE, MS_SSIM_SIDE)
    found = {name: values[0] for name, values in fill_metrics(truth, truth, holes).items()}
    assert {name for name, value in found.items() if value == 0} == {"l1", "l2", "seam", "image_l1", "image_l2"}
    assert {name for name, value in found.items() if value == 1} == {"ssim", "image_ssim", "image_ms_ssim"}
    assert found["psnr"] == found["image_psnr"] == PSNR_CAP


def test_rings_are_the_errors_of_the_pixels_at_each_distance_from_the_context() -> None:
    noisy, truth, holes = pair(11, 4, 44, 80)
    holes[0] = True
    holes[0, :, 40:, :3] = False  # a distant corner: all rings but for the border, which is no context
    holes[1] = False
    holes[1, :, 8:40, 8:40] = True
    holes[2] = True
    filled = torch.where(holes, noisy, truth)
    found = l1_by_ring(filled, truth, holes)
    ranges = {1: (0, 1), 2: (1, 2), 3: (2, 4), 4: (4, 8), 5: (8, 16), 6: (16, 32), 7: (32, np.inf)}
    for i in (0, 1, 3):
        hole = holes[i, 0].numpy()
        known, missing = np.argwhere(~hole), np.argwhere(hole)
        distances = np.sqrt(np.square(missing[:, None] - known[None]).sum(-1).min(1))
        error = (filled[i].double() - truth[i].double()).abs().numpy()[:, hole] / 255.0
        for name, (above, up_to) in zip(RINGS, ranges.values(), strict=True):
            there = (above < np.ceil(distances)) & (np.ceil(distances) <= up_to)
            if there.any():
                assert found[name][i] == pytest.approx(error[:, there].mean(), abs=1e-12)
            else:
                assert np.isnan(found[name][i])
    assert not any(np.isnan(found[name][0]) for name in RINGS)
    assert [name for name in RINGS if not np.isnan(found[name][1])] == list(RINGS[:5])
    assert all(np.isnan(values[2]) for values in found.values())
