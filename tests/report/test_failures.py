"""Pictures of failures show the images that were filled worst, median and best, under the holes of the evaluation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from ssl_ce.data.packing import Subset
from ssl_ce.evaluators.base import Env, EvaluationData
from ssl_ce.evaluators.inpainting import Inpainting, InpaintingConfig, NearestInpainting, NearestInpaintingConfig
from ssl_ce.evaluators.judge import judge
from ssl_ce.inpainters import load_inpainter
from ssl_ce.records.record import Record
from ssl_ce.report import failures
from ssl_ce.report.drawing import GAP, MARGIN
from ssl_ce.report.failures import extremes, failure_pictures


def test_extremes_are_the_ends_and_the_middle():
    psnr = np.random.default_rng(0).permutation(20).astype(float)
    found = {kind: psnr[places].tolist() for kind, places in extremes(psnr, 3).items()}
    assert found == {"worst": [0, 1, 2], "median": [8, 9, 10], "best": [17, 18, 19]}


@pytest.mark.parametrize(("images", "shown"), [(7, 2), (3, 1), (2, 1), (1, 1)])
def test_no_image_is_shown_twice_where_there_are_enough(images, shown):
    places = extremes(np.arange(float(images)), 5)
    assert [len(found) for found in places.values()] == [shown] * 3
    if images >= 3:
        assert len(np.unique(np.concatenate(list(places.values())))) == 3 * shown
    assert (places["worst"][0], places["best"][-1]) == (0, images - 1)


def judged(evaluator, references: list[str], data: EvaluationData, env: Env) -> list[Record]:
    return judge(evaluator, references, data, env, lambda record: None)


def columns(path, count: int) -> np.ndarray:
    """The pictures of a page with 3 x `count` columns, shrunk to 32 pixels again: (columns, rows, 32, 32, 3)."""
    sheet = np.asarray(Image.open(path))
    magenta = (sheet == (222, 60, 140)).all(-1)
    top = int(np.nonzero(magenta.any(1))[0][0]) - 16  # the centre's hole begins at row 8 of 32
    left = int(np.nonzero(magenta.any(0))[0][0]) - 16
    found = []
    for column in range(3 * count):
        x = left + column * (64 + GAP) + column // count * 4 * GAP
        found.append([sheet[y : y + 64 : 2, x : x + 64 : 2] for y in range(top, top + 4 * (64 + GAP), 64 + GAP)])
    assert sheet.shape[1] >= x + 64 + MARGIN
    return np.stack(found)


def test_the_images_with_the_lowest_median_and_highest_psnr_are_shown_with_their_fills(tmp_path, digits_test):
    evaluator = Inpainting(InpaintingConfig(holes=("center",)))
    data, env = EvaluationData(test=digits_test), Env(seed=3)
    records = judged(evaluator, ["mean-color"], data, env)
    (path,) = failure_pictures(evaluator, ["mean-color"], records, data, env, tmp_path, 1)
    assert path == tmp_path / f"failures-center-mean-color-{records[0].id[:6]}.png"

    truth = digits_test.read(range(len(digits_test))).numpy()
    filled = truth.copy()
    for image, given in zip(truth, filled, strict=True):
        outside = np.ones((32, 32), bool)
        outside[8:24, 8:24] = False
        for channel in range(3):
            given[channel, 8:24, 8:24] = np.round(image[channel][outside].mean())
    psnr = [
        peak_signal_noise_ratio(true[:, 8:24, 8:24], given[:, 8:24, 8:24], data_range=255)
        for true, given in zip(truth, filled, strict=True)
    ]
    shown = columns(path, 1)
    in_order = np.argsort(psnr, kind="stable")
    for column, place in zip(shown, in_order[[0, (len(psnr) - 1) // 2, -1]], strict=True):
        np.testing.assert_array_equal(column[2], truth[place].transpose(1, 2, 0))
        np.testing.assert_array_equal(column[1], filled[place].transpose(1, 2, 0))


class Peeking:
    """An inpainter that notes what it is given."""

    name, identity = "peeking", "peeking"

    def __init__(self) -> None:
        self.given: list[tuple[torch.Tensor, torch.Tensor]] = []

    def fill(self, images, holes):
        self.given.append((images, holes))
        return images

    def state_hash(self) -> str:
        return "peeking"


@pytest.mark.parametrize(
    "evaluator",
    [
        Inpainting(InpaintingConfig(holes=("random-block",))),
        NearestInpainting(NearestInpaintingConfig(holes=("random-block",))),
    ],
    ids=["a hole for each image", "a bank"],
)
def test_images_are_filled_under_the_holes_of_the_evaluation_and_the_truth_is_hidden(
    tmp_path, monkeypatch, digits_test, digits_train, evaluator
):
    peeking, data, env = Peeking(), EvaluationData(test=digits_test, train=digits_train), Env(seed=7)
    monkeypatch.setattr(evaluator, "resolve", lambda *_: peeking)
    records = judged(evaluator, ["peeking"], data, env)
    first = peeking.given[1:] if len(peeking.given[0][0]) == 1 else peeking.given  # without the check's one image
    images, holes = (torch.cat(parts) for parts in zip(*first, strict=True))
    peeking.given.clear()
    failure_pictures(evaluator, ["peeking"], records, data, env, tmp_path, 2)
    psnr = records[0].outcomes["psnr"]
    for (again, under), places in zip(peeking.given, extremes(psnr, 2).values(), strict=True):
        torch.testing.assert_close(again, images[places])
        torch.testing.assert_close(under, holes[places])
        assert not again[under.expand(-1, 3, -1, -1)].any()


def test_there_is_a_picture_for_each_subject_and_strategy_under_a_name_of_its_own(tmp_path, digits_test):
    evaluator = Inpainting(InpaintingConfig(holes=("center", "patches")))
    data, env = EvaluationData(test=Subset(digits_test, range(9), "nine")), Env()
    references = ["telea", "mean-color"]
    records = judged(evaluator, references, data, env)
    paths = failure_pictures(evaluator, references, records, data, env, tmp_path, 1)
    assert sorted(path.name for path in paths) == sorted(
        f"failures-{record.variant['holes']}-{record.subject.name}-{record.id[:6]}.png" for record in records
    )
    assert all(path.is_file() for path in paths)


@pytest.mark.parametrize(
    ("settings", "seed", "words"),
    [
        ({"options": {"side": 0.25}}, 0, "holes: center · options: side=0.25 · seed 0"),
        ({}, 1, "holes: center · seed 1"),
    ],
)
def test_other_settings_and_seeds_make_another_picture_with_another_title(
    tmp_path, monkeypatch, digits_test, settings, seed, words
):
    titles = []
    draw = failures.failures_grid
    monkeypatch.setattr(
        failures, "failures_grid", lambda path, title, *rest: titles.append(title) or draw(path, title, *rest)
    )
    data = EvaluationData(test=Subset(digits_test, range(9), "nine"))
    for config, env in ((InpaintingConfig(holes=("center",)), Env()),
                        (InpaintingConfig(holes=("center",), **settings), Env(seed=seed))):  # fmt: skip
        evaluator = Inpainting(config)
        records = judged(evaluator, ["mean-color"], data, env)
        failure_pictures(evaluator, ["mean-color"], records, data, env, tmp_path, 1)
    assert len(list(tmp_path.glob("failures-center-mean-color-*.png"))) == 2
    assert [f"mean-color · inpainting@1 · digits/nine · {words} · PSNR over the hole" == title for title in titles] == [
        False,
        True,
    ]


def test_a_name_of_a_file_is_safe_and_not_used_twice(tmp_path, monkeypatch, digits_test):
    evaluator = Inpainting(InpaintingConfig(holes=("center",)))
    data, env = EvaluationData(test=Subset(digits_test, range(9), "nine")), Env()
    (judged_once,) = judged(evaluator, ["mean-color"], data, env)
    names = ["nearest?k=5&fill=poisson:../a b", "nearest:k=5:fill=poisson&../a b", "runs/" + "x" * 300]
    subjects = {name: load_inpainter("mean-color") for name in names}
    for name, subject in subjects.items():
        subject.name = name
    monkeypatch.setattr(evaluator, "resolve", lambda reference, *_: subjects[reference])
    records = [
        judged_once.model_copy(
            update={"id": f"{number:016x}"[::-1], "subject": judged_once.subject.model_copy(update={"name": name})}
        )
        for number, name in enumerate(names)
    ]
    paths = failure_pictures(evaluator, names, records, data, env, tmp_path, 1)
    assert len(list(tmp_path.iterdir())) == len(set(paths)) == 3
    assert paths[0].name == "failures-center-nearest-k=5-fill=poisson-..-a-b-000000.png"
    assert all(path.parent == tmp_path and len(path.name) < 160 for path in paths)
