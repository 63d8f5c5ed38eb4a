import pytest
import torch
import torch.nn.functional as F

from ssl_ce.errors import UserError
from ssl_ce.holes import _brushed, center, draw, draw_bank, predicted_region, random_region, strategies
from ssl_ce.randomness import sample_keys

SHARES = {
    "center": (0.24, 0.26),
    "random-block": (0.05, 0.25),
    "random-region": (0.2, 0.3),
    "free-form": (0.01, 0.5),
}


def keys_of(count: int, seed: int = 0) -> torch.Tensor:
    return sample_keys(seed, 0, torch.arange(count), "hole")


@pytest.mark.parametrize("strategy", strategies.names())
@pytest.mark.parametrize("size", [(32, 32), (96, 96), (227, 227), (40, 64)])
def test_a_strategy_draws_one_hole_for_each_image(strategy: str, size: tuple[int, int]):
    holes = draw(strategy, keys_of(20), *size)
    assert holes.dtype == torch.bool
    assert holes.shape == (20, 1, *size)
    share = holes.float().mean((1, 2, 3))
    assert 0 < share.min() <= share.max() < 1


@pytest.mark.parametrize("strategy", sorted(SHARES))
@pytest.mark.parametrize("size", [32, 96, 128])
def test_the_missing_share_stays_within_what_the_strategy_promises(strategy: str, size: int):
    share = draw(strategy, keys_of(300), size, size).float().mean((1, 2, 3))
    low, high = SHARES[strategy]
    assert low <= share.min()
    assert share.max() <= high


@pytest.mark.parametrize("strategy", strategies.names())
def test_a_hole_does_not_depend_on_the_batch_it_is_drawn_in(strategy: str):
    keys = keys_of(12)
    whole = draw(strategy, keys, 48, 48)
    parts = torch.cat([draw(strategy, part, 48, 48) for part in keys.flip(0).split(5)]).flip(0)
    assert torch.equal(whole, parts)


@pytest.mark.parametrize("strategy", ["random-block", "random-region", "free-form"])
def test_random_holes_differ_between_images_and_seeds_and_repeat_for_the_same_key(strategy: str):
    holes = draw(strategy, keys_of(50), 32, 32)
    assert len(torch.unique(holes.flatten(1), dim=0)) == 50
    assert torch.equal(holes, draw(strategy, keys_of(50), 32, 32))
    assert not torch.equal(holes, draw(strategy, keys_of(50, seed=1), 32, 32))


def test_every_pixel_is_missing_equally_often_in_random_regions():
    share = random_region(keys_of(4000), 32, 32).float().mean(0)[0]
    assert (share - 0.25).abs().max() < 0.05


def test_the_correlation_length_is_a_share_of_the_side():
    """Two pixels half a correlation length apart usually agree; two lengths apart they are nearly independent."""
    for size in (32, 96):
        holes = random_region(keys_of(400), size, size)[:, 0].float()
        holes = holes - holes.mean()
        step = round(0.13 * size)

        def correlation(shift: int, holes: torch.Tensor = holes) -> float:
            return float((holes[:, :, shift:] * holes[:, :, :-shift]).mean() / holes.var())

        assert correlation(max(1, step // 2)) > 0.4
        assert abs(correlation(2 * step + 2)) < 0.2


def test_the_public_codes_centre_misses_56_and_predicts_64_pixels():
    missing = center(keys_of(1), 128, 128, side=0.4375)
    predicted = predicted_region(missing, 4)
    assert missing.sum() == 56 * 56
    assert predicted.sum() == 64 * 64
    assert predicted[..., 32:96, 32:96].all()


def test_the_predicted_region_is_the_hole_grown_by_the_overlap():
    holes = random_region(keys_of(3), 24, 24)
    grown = torch.zeros_like(holes)
    padded = F.pad(holes, (2, 2, 2, 2))
    for dy in range(5):
        for dx in range(5):
            grown |= padded[..., dy : dy + 24, dx : dx + 24]
    assert torch.equal(predicted_region(holes, 2), grown)
    assert torch.equal(predicted_region(holes, 0), holes)


def test_a_bank_is_a_function_of_strategy_seed_and_size():
    assert torch.equal(draw_bank("random-region", 4, 0, 32, 32), draw_bank("random-region", 4, 0, 32, 32))
    assert not torch.equal(draw_bank("random-region", 4, 0, 32, 32), draw_bank("random-region", 4, 1, 32, 32))


@pytest.mark.parametrize(
    ("strategy", "options", "words"),
    [
        ("centre", {}, "Did you mean center"),
        ("center", {"side": 1.5}, "between 0 and 1"),
        ("center", {"sidee": 0.5}, "Did you mean side"),
        ("center", {"side": 0.001}, "no hole"),
        ("random-block", {"high": 0.9}, "random-block needs"),
        ("random-region", {"low": 0.9, "high": 0.2}, "random-region needs"),
        ("free-form", {"strokes": 0}, "strokes as a whole number"),
        ("free-form", {"vertices": 2.5}, "vertices as a whole number"),
        ("free-form", {"low": 0.2, "high": 0.1}, "free-form needs"),
        ("free-form", {"high": 0.9}, "free-form needs"),
    ],
)
def test_wrong_holes_are_refused_with_a_reason(strategy: str, options: dict, words: str):
    with pytest.raises(UserError, match=words):
        draw(strategy, keys_of(1), 32, 32, options)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("strategy", strategies.names())
def test_a_gpu_draws_the_same_holes_as_the_cpu(strategy: str):
    keys = keys_of(64)
    assert torch.equal(draw(strategy, keys.cuda(), 96, 96).cpu(), draw(strategy, keys, 96, 96))


def test_patches_leave_out_their_share_of_whole_cells_for_every_image():
    holes = draw("patches", sample_keys(0, 0, torch.arange(50), "hole"), 32, 48, {"cells": 8, "share": 0.75})
    cells = holes.unfold(2, 4, 4).unfold(3, 6, 6).float().mean((4, 5))
    assert set(cells.unique().tolist()) == {0.0, 1.0}
    assert cells.sum((1, 2, 3)).tolist() == [48.0] * 50
    # Each cell is missing as often as any other: 37.5 of 50 on average, within four standard deviations.
    assert (cells.sum(0) - 37.5).abs().max() < 4 * (50 * 0.75 * 0.25) ** 0.5


@pytest.mark.parametrize(
    ("options", "message"), [({"cells": 33}, "cannot be cut"), ({"share": 1.0}, "between 0 and 1")]
)
def test_patches_that_do_not_fit_are_refused(options: dict[str, float], message: str):
    with pytest.raises(UserError, match=message):
        draw("patches", torch.arange(2), 32, 32, options)


def test_a_brush_covers_the_pixels_within_its_radius_of_a_segment():
    """Beside a brute-force loop. The ends are one point, on the image's border, in a row, in a column, oblique."""
    quarters = torch.tensor(
        [[40, 60, 40, 60], [0, 0, 0, 100], [80, 20, 12, 20], [7, 13, 90, 111], [111, 3, 50, 57], [50, 90, 49, 91]]
    )
    radius = torch.tensor([11.0, 16.0, 3.0, 12.5, 23.3, 5.0], dtype=torch.float64)
    found = _brushed(quarters[:, :2], quarters[:, 2:], radius, 24, 30)
    for number, (top, left, bottom, right) in enumerate((quarters / 4).tolist()):
        for row in range(24):
            for column in range(30):
                y, x = row + 0.5 - top, column + 0.5 - left
                dy, dx = bottom - top, right - left
                along = (y * dy + x * dx) / (dy * dy + dx * dx or 1.0)
                along = min(max(along, 0.0), 1.0)
                distance = ((y - along * dy) ** 2 + (x - along * dx) ** 2) ** 0.5
                # A segment's start is the end of the one before it, whose brush rounds it.
                if along > 0 and abs(distance - float(radius[number]) / 4) > 1e-6:
                    assert bool(found[number, row, column]) == (distance < float(radius[number]) / 4)


def test_free_form_strokes_keep_within_most_and_are_as_wide_as_told():
    holes = draw("free-form", keys_of(100), 64, 64, {"strokes": 30, "most": 0.3})
    share = holes.float().mean((1, 2, 3))
    assert 0.28 < share.median() <= share.max() <= 0.3
    # One straight stroke, 8 of 64 pixels wide: its middle is 4 pixels from what it leaves. At the image's edge it may
    # be mirrored, or be nearer to a corner than to what is known.
    one = draw("free-form", keys_of(50), 64, 64, {"strokes": 1, "vertices": 1, "low": 0.125, "high": 0.125})
    deepest = [
        torch.cdist(hole.nonzero().double(), (~hole).nonzero().double()).min(1).values.max() for hole in one[:, 0]
    ]
    assert min(deepest) >= 3.6
    assert sorted(deepest)[40] <= 4.5


def test_free_form_holes_are_found_in_narrow_images():
    for size in ((20, 200), (200, 20), (3, 90)):
        holes = draw("free-form", keys_of(200), *size)
        assert holes.shape == (200, 1, *size)
