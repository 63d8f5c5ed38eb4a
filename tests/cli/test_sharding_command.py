"""`ce data shard`, and shards as --data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Ce = Callable[[str], Any]


def accuracies(results: str) -> list[float]:
    records = [json.loads(line) for line in Path(results, "records.jsonl").read_text().splitlines()]
    return [record["metrics"]["accuracy"]["value"] for record in records]


def test_shards_are_written_shown_judged_and_trained_on(ce: Ce) -> None:
    for split, count in (("train", 90), ("test", 40)):
        answer = ce(f"data shard digits?count={count} --split {split} --size 16 --per-shard 40 --out shards")
        assert answer.code == 0, answer.err
        assert f"shards: {count} images of 16 x 16 in {-(-count // 40)} shards" in answer.out
    shown = ce("data info shards")
    assert shown.code == 0
    assert "digits, train" in shown.out
    assert "40, read at 16 x 16" in shown.out
    assert "Of 40 test images" in shown.out
    assert ce("evaluate knn pixels --data shards --results ours").code == 0
    patterns = "--train 'shards/digits-train-{000000..000002}.tar' --test shards/digits-test-000000.tar --size 16"
    assert ce(f"evaluate knn pixels {patterns} --results bare").code == 0
    assert len(accuracies("ours")) == 2  # with the floor
    assert accuracies("ours") == accuracies("bare")
    tiny = (
        "--set method.encoder.width=0.1 --set method.decoder.width=0.1 --set log.tensorboard=false --set method.size=16"
    )
    trained = ce(f"pretrain quickstart --data 'shards/digits-train-{{000000..000002}}.tar' --steps 2 {tiny}")
    assert trained.code == 0, trained.err
    assert [path.name for path in Path("runs").iterdir()] == ["quickstart-digits-train"]


def test_what_cannot_be_sharded_is_refused_in_one_line(ce: Ce) -> None:
    assert ce("data shard digits?count=20 --size 8 --out shards").code == 0
    for line, words in (
        ("data shard digits?count=20 --size 8 --out shards", "--force"),
        ("data shard shards --out other", "no folder or dataset"),
        ("data pack shards --out x.pack", "holds shards"),
        ("data shard digits --encoding original --out other", "there must be files"),
        ("data shard digits --split val --out other", "no split 'val'"),
        ("data info pipe:echo", "is none of them"),
        ("evaluate knn pixels --data shards --size 8", "are the same images"),
    ):
        answer = ce(line)
        assert answer.code == 2, line
        assert words in answer.err, line
        assert len(answer.err.strip().splitlines()) == 1
    assert sorted(path.name for path in Path().iterdir()) == ["shards"]
    assert ce("data shard digits?count=20 --size 8 --out shards --force").code == 0
