"""`ce quickstart`: everything at once, here on few digits."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

from ssl_ce.evaluators.base import EvaluationData
from ssl_ce.evaluators.linear_probe import Costs, LinearProbeConfig
from ssl_ce.records.store import RecordStore


@pytest.fixture
def few_digits(digits_train, digits_test, monkeypatch) -> None:
    """250 digits to learn from and 40 to test on, three costs and one region strategy: a few seconds."""
    few = EvaluationData(
        test=digits_test.subset(torch.arange(40), "test"), train=digits_train.subset(torch.arange(250), "train")
    )
    monkeypatch.setattr("ssl_ce.cli.quickstart._digits", lambda: few)
    monkeypatch.setattr("ssl_ce.cli.quickstart.STRATEGIES", ("center",))
    few_costs = partial(LinearProbeConfig, costs=Costs(first=-2, last=2, count=3))
    monkeypatch.setattr("ssl_ce.evaluators.linear_probe.LinearProbeConfig", few_costs)


def test_it_leaves_a_run_records_tables_and_pictures_and_says_where(ce, few_digits, tmp_path):
    answer = ce("quickstart --steps 3")
    assert answer.code == 0, answer.err
    protocols = [record.protocol for record in RecordStore(tmp_path / "results/quickstart").records()]
    assert set(protocols) == {"linear-probe@1", "knn-dino@1", "inpainting@1", "nn-inpainting@1"}
    assert protocols.count("linear-probe@1") == 2 * 5  # all labels and few: the run, its twin, pixels, HOG, GIST
    table = Path("results/quickstart/table.md").read_text()
    assert "labels: 10 a class, 10 draws" in table
    assert "`runs/quickstart@conv2` − `init:runs/quickstart@conv2`" in table
    assert "sign-flip" in table
    assert Path("results/quickstart/table.csv").is_file()
    for picture in ("fills-center.png", "nearest-contexts.png"):
        assert f"results/quickstart/{picture}" in answer.out
        Image.open(Path("results/quickstart") / picture).verify()
    assert Path("runs/quickstart/encoder.safetensors").is_file()
    assert "ce evaluate linear-probe runs/mine --data YOUR_FOLDER" in answer.out


def test_a_place_that_cannot_be_written_to_is_refused_before_the_training(ce, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for option in ("--run", "--results"):
        answer = ce(f"quickstart --steps 3 {option} notes.txt/here")
        assert answer.code == 2
        assert "notes.txt is a file" in answer.err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_run_of_another_length_is_not_taken_for_its_own(ce):
    assert ce("pretrain quickstart --data digits --steps 2 --out a").code == 0
    answer = ce("quickstart --steps 3 --run a")
    assert answer.code == 2
    assert "a was begun with optim.steps = 2 and the recipe now says 3" in answer.err
