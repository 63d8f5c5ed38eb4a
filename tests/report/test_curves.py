from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_ce.errors import UserError
from ssl_ce.report.curves import draw_curves, losses_of, read_curve


def run_of(folder: Path, name: str, text: str) -> Path:
    run = folder / name
    run.mkdir()
    (run / "log.csv").write_text(text)
    return run


@pytest.fixture
def two_runs(tmp_path: Path) -> dict[str, Path]:
    plain = run_of(tmp_path, "plain", "step,generator_loss,held_out_psnr\n0,,10.0\n1,2.0,\n2,1.5,12.5\n")
    other = run_of(tmp_path, "other", "step,generator_loss,log_d_real\n1,2.0,-0.7\n2,1.0,-0.5\n")
    return {"plain": plain, "other": other}


def test_a_curve_is_what_was_logged_and_nothing_in_between(two_runs: dict[str, Path]):
    steps, values = read_curve(two_runs["plain"], "held_out_psnr")
    assert steps.tolist() == [0, 2]
    assert values.tolist() == [10.0, 12.5]
    assert losses_of(two_runs["plain"]) == ["generator_loss"]


def test_a_panel_for_each_quantity_is_drawn(two_runs: dict[str, Path], tmp_path: Path):
    paths = [tmp_path / "one.png", tmp_path / "two.png"]
    draw_curves(paths[0], two_runs, ["generator_loss"])
    draw_curves(paths[1], two_runs, ["generator_loss", "log_d_real"])
    one, two = (np.asarray(Image.open(path).convert("RGB")) for path in paths)
    assert two.shape[1] > 1.8 * one.shape[1]
    blue = np.abs(one.astype(int) - (31, 119, 180)).sum(2) < 30  # the first run's line
    assert blue.sum() > 50


def test_an_unknown_quantity_is_answered_with_the_closest(two_runs: dict[str, Path], tmp_path: Path):
    with pytest.raises(UserError, match="Did you mean held_out_psnr"):
        draw_curves(tmp_path / "c.png", {"plain": two_runs["plain"]}, ["held_out_psn"])
    with pytest.raises(UserError, match=r"Did you mean log_d_real"):
        draw_curves(tmp_path / "c.png", two_runs, ["log_d_rael"])
    with pytest.raises(UserError, match=r"nowhere has no log\.csv"):
        draw_curves(tmp_path / "c.png", {**two_runs, "nowhere": tmp_path / "nowhere"}, ["generator_loss"])
    with pytest.raises(UserError, match=r"has no log\.csv"):
        read_curve(tmp_path, "generator_loss")
    assert not (tmp_path / "c.png").exists()
