"""`ce evaluate`: subjects of every kind, the images they are judged on, and sub-commands from the registry."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import ClassVar

import pytest

from ssl_ce.descriptors import load_descriptor
from ssl_ce.evaluators import evaluators
from ssl_ce.evaluators.base import Needs
from ssl_ce.evaluators.inpainting import Inpainting
from ssl_ce.evaluators.recording import make_record
from ssl_ce.records.record import Metric
from ssl_ce.records.store import RecordStore
from ssl_ce.settings import Settings


@pytest.fixture(autouse=True)
def here(ce, photo_folder: Path, tiny_run: Path, tmp_path: Path) -> None:
    """photos/, run/ and encoder.safetensors in the folder where `ce` is typed."""
    (tmp_path / "photos").symlink_to(photo_folder)
    (tmp_path / "run").symlink_to(tiny_run)
    (tmp_path / "encoder.safetensors").symlink_to(tiny_run / "encoder.safetensors")


def rows(folder: str = "results/local"):
    return RecordStore(Path(folder)).records()


@pytest.mark.parametrize(
    "subject",
    [
        "run",
        "run@conv2",
        "run@conv3?pool=flat",
        "init:run@conv1",
        "random:alexnet@conv3?size=32&norm=batch",
        "random:dcgan?size=32&width=0.1&seed=3",
        "random:torchvision:squeezenet1_1",
        "file:encoder.safetensors?encoder=dcgan&width=0.1&size=32",
        "hog?cell=4",
        "gist?side=32",
        "color-histogram",
        "pixels?side=8",
    ],
)
def test_every_kind_of_descriptor_is_judged_under_the_name_it_was_given(ce, subject):
    answer = ce(f"evaluate knn '{subject}' --data photos --size 32 --no-floors")
    assert answer.code == 0, answer.err
    assert [row.subject.name for row in rows()] == [subject]
    assert subject in answer.out
    assert answer.out.endswith(
        "1 record kept in results/local/records.jsonl. Show them all: ce results show results/local\n"
    )


def test_an_untrained_timm_model_is_judged(ce):
    pytest.importorskip("timm", reason="the extra timm is not installed")
    assert ce("evaluate knn random:timm:mobilenetv3_small_050 --data photos --no-floors").code == 0


@pytest.mark.parametrize("subject", ["run", "telea?radius=3", "navier-stokes", "nearest:hog", "nearest:run@conv2"])
def test_every_kind_of_inpainter_is_judged_under_the_name_it_was_given(ce, subject):
    answer = ce(f"evaluate inpainting '{subject}' --data photos --size 32 --holes center --no-floors")
    assert answer.code == 0, answer.err
    assert [(row.subject.name, row.variant) for row in rows()] == [(subject, {"holes": "center"})]


def test_several_subjects_and_the_floors_make_one_table(ce):
    answer = ce("evaluate linear-probe run@conv2 'gist?side=32' --data photos")
    assert answer.code == 0, answer.err
    names = {"run@conv2", "gist?side=32", "pixels", "hog", "init:run@conv2"}
    assert {row.subject.name for row in rows()} == names
    assert answer.out.count("linear-probe@1 · ") == 1
    assert "5 records kept in" in answer.out


def test_the_tap_that_stands_for_all_is_said(ce):
    answer = ce("evaluate knn run@all --data photos --no-floors")
    assert answer.code == 0, answer.err
    (record,) = [row for row in rows() if row.subject.name == "run@all"]
    assert f"run@all: {record.chosen['tap']}, chosen on 20 % of train, held out by seed 0\n" in answer.out
    assert answer.out.count("chosen on") == 1


def test_holes_are_given_once_each_and_make_a_table_each(ce):
    answer = ce("evaluate inpainting telea --data photos --holes center --holes random-region --holes center")
    assert answer.code == 0, answer.err
    assert [row.variant["holes"] for row in rows() if row.subject.name == "telea"] == ["center", "random-region"]
    assert answer.out.count("inpainting@1 · ") == 2


def test_images_are_opened_at_the_size_that_was_asked_for_or_the_runs(ce):
    ce("evaluate knn hog run --data photos --results a --no-floors")
    ce("evaluate knn hog run --data photos --results b --no-floors --size 48")
    ce("evaluate knn hog --data photos --results c --no-floors")
    assert [rows(folder)[0].dataset.size for folder in "abc"] == [(32, 32), (48, 48), (128, 128)]


def test_a_folder_without_a_test_split_is_split_by_seed(ce, photo_folder, tmp_path):
    (tmp_path / "one-level").symlink_to(photo_folder / "train")
    line = "evaluate knn hog --data one-level --no-floors --set neighbours=[5] --set headline=5"
    assert ce(line).code == ce(f"{line} --data-seed 1").code == 0
    first, second = rows()
    assert (first.dataset.n, first.train.n) == (5, 19)
    assert (first.dataset.source["split_seed"], second.dataset.source["split_seed"]) == (0, 1)
    assert first.dataset.fingerprint != second.dataset.fingerprint


@pytest.fixture
def two_folders(photo_folder: Path, tmp_path: Path) -> None:
    """own/ of 24 images and other/ of 12, of two classes each, without splits."""
    (tmp_path / "own").symlink_to(photo_folder / "train")
    (tmp_path / "other").symlink_to(photo_folder / "test")


@pytest.mark.parametrize(
    ("given", "judged", "searched"),
    [
        ("--train own --test other", 12, 24),
        ("--index own --test other", 12, 24),
        ("--train own --test ./own", 5, 19),
        ("--data own", 5, 19),
        ("--data own --index other", 5, 12),
        ("--data own --test other", 12, 19),
        ("--index photos --test other", 12, 24),
    ],
)
def test_two_folders_are_used_whole_and_one_is_split_by_seed(ce, two_folders, given, judged, searched):
    answer = ce(f"evaluate nn-inpainting pixels {given} --size 32 --holes center --no-floors")
    assert answer.code == 0, answer.err
    (record,) = rows()
    assert (record.dataset.n, record.train.n) == (judged, searched)


def test_a_folder_within_the_other_is_refused(ce, tmp_path):
    answer = ce("evaluate knn hog --train photos/test --test photos/test/left")
    assert answer.code == 2
    assert "test images in photos/test/left lie within the train images in photos/test, and would be both" in answer.err


def test_where_to_search_and_how_may_both_be_given(ce, two_folders):
    line = "evaluate nn-inpainting pixels --test other --size 32 --holes center --no-floors"
    answer = ce(f"{line} --index full --index own")
    assert answer.code == 0, answer.err
    (record,) = rows()
    assert (record.subject.name, record.train.n) == ("nearest?index=full:pixels", 24)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("--index own --index photos", "--index is given own, photos: give one REF at most"),
        ("--index full --index bank", "one of the words full and bank"),
        ("--index own --index full --index full", "--index is given own, full, full"),
        ("--index own --train photos", "--train photos and --index own both name what is searched"),
    ],
)
def test_an_index_that_is_given_twice_is_refused(ce, two_folders, given, told):
    answer = ce(f"evaluate nn-inpainting pixels --test other {given}")
    assert answer.code == 2
    assert told in answer.err
    assert len(answer.err.strip().splitlines()) == 1
    assert not Path("results").exists()


def test_settings_and_seed_are_kept_in_the_record(ce):
    line = "evaluate linear-probe hog --data photos --no-floors --seed 5 --set labels_per_class=4 --set draws=3"
    assert ce(line).code == 0
    (record,) = rows()
    assert record.seed == 5
    assert (record.config["labels_per_class"], record.config["draws"]) == (4, 3)
    assert record.machine["command"] == f"ce {line}"


@pytest.mark.parametrize("name", ["hgo", "runs/nothing", "nearest:hgo", "init:runs/nothing", "run@conv9"])
def test_a_subject_that_is_not_there_is_refused_before_any_image_is_packed(ce, cache_folder, tmp_path, name):
    before = sorted((cache_folder / "packed").glob("*"))
    answer = ce(f"evaluate nn-inpainting {name} --data photos --size 37")
    assert answer.code == 2
    assert "Error: There is no" in answer.err
    if name != "run@conv9":  # a tap is known when the network is built
        assert sorted((cache_folder / "packed").glob("*")) == before
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("evaluator", ["knn", "linear-probe", "nn-inpainting"])
def test_all_subjects_are_checked_before_the_first_is_judged(ce, tmp_path, evaluator):
    answer = ce(f"evaluate {evaluator} hog 'hog?cell=200' --data photos --size 32")
    assert answer.code == 2
    assert "needs images of at least 400 x 400 pixels" in answer.err
    assert not (tmp_path / "results").exists()


class Flatness:
    """A made evaluator: how much of the test images is of one grey."""

    name: ClassVar[str] = "flatness"
    version: ClassVar[int] = 3
    needs: ClassVar[Needs] = Needs("encode")
    floors: ClassVar[tuple[str, ...]] = ("pixels",)

    class Config(Settings):
        share: float = 0.5

    reference, protocol = Inpainting.reference, Inpainting.protocol

    def __init__(self, config):
        self.config = config

    def resolve(self, reference, data, device):
        return load_descriptor(reference, str(device))

    def check(self, subject, data):
        pass

    def run(self, subject, data, env):
        metrics = {"flatness": Metric(value=self.config.share)}
        yield make_record(self, subject, data, env, variant={}, metrics=metrics, outcomes={}, started=0.0)


class HoleCounting(Inpainting):
    """Inpainting under another name: a plug-in whose settings have holes."""

    name: ClassVar[str] = "hole-counting"


@pytest.fixture
def plugged_in():
    evaluators.add("flatness", Flatness, "how flat the images are")
    evaluators.add("hole-counting", HoleCounting, "counts holes")
    yield
    evaluators.remove("flatness")
    evaluators.remove("hole-counting")


def test_a_plug_in_is_a_sub_command_like_any_other(ce, plugged_in):
    assert "how flat the images are" in ce("evaluate --help").out
    help_text = ce("evaluate flatness --help").out
    assert "How flat the images are." in help_text
    assert "--set KEY=VALUE" in help_text
    assert "--holes" not in help_text
    assert "--holes" in ce("evaluate hole-counting --help").out
    answer = ce("evaluate flatness hog --data photos --set share=0.25")
    assert answer.code == 0, answer.err
    assert "flatness@3 · " in answer.out
    assert [(row.protocol, row.subject.name, row.metrics["flatness"].value) for row in rows()] == [
        ("flatness@3", "hog", 0.25),
        ("flatness@3", "pixels", 0.25),
    ]
    assert "Did you mean 'share'?" in ce("evaluate flatness hog --data photos --set shaer=1").err


@pytest.mark.parametrize(("name", "subject"), [("inpainting", "telea"), ("nn-inpainting", "nearest:hog")])
def test_failures_are_drawn_for_each_subject_and_strategy_when_asked_for(ce, tmp_path, name, subject):
    line = f"evaluate {name} {subject} mean-color --data photos --no-floors --holes center --holes random-block"
    assert "Picture:" not in ce(line).out
    answer = ce(f"{line} --failures 2")
    assert answer.code == 0, answer.err
    pictures = [Path(found.removeprefix("Picture: ")) for found in answer.out.splitlines() if "Picture: " in found]
    assert sorted(pictures) == sorted((tmp_path / "results/local").relative_to(tmp_path).glob("*.png"))
    assert {re.sub(r"-[0-9a-f]{6}\.png$", "", path.name) for path in pictures} == {
        f"failures-{strategy}-{who}"
        for strategy in ("center", "random-block")
        for who in (subject.replace(":", "-"), "mean-color")
    }


def test_an_image_that_finds_itself_is_said_and_the_word_full_is_no_place(ce):
    assert ce("data pack digits?count=50 --split test --out same.pack").code == 0
    answer = ce("evaluate nn-inpainting pixels telea --test same.pack --index same.pack --holes center --no-floors")
    assert answer.code == 0, answer.err
    assert "nearest:pixels: images left out because they equal the query: 50\n" in answer.out
    assert "telea: images" not in answer.out
    answer = ce("evaluate nn-inpainting pixels --data digits --index full --holes center --no-floors")
    assert answer.code == 0, answer.err
    assert "nearest?index=full:pixels" in answer.out


def test_only_evaluators_of_fills_draw_failures_and_only_retrieval_draws_panels(ce):
    options = {name: ce(f"evaluate {name} --help").out for name in evaluators.names()}
    assert {name for name, text in options.items() if "--failures N" in text} == {"inpainting", "nn-inpainting"}
    assert {name for name, text in options.items() if "--panels N" in text} == {"retrieval"}


def test_what_was_measured_of_fills_can_be_broken_down(ce):
    ce("evaluate inpainting telea --data photos --size 32 --holes free-form --holes center")
    answer = ce("results breakdown results/local --plot breakdown.png")
    assert answer.code == 0, answer.err
    assert "/test · holes: free-form · l1 (%) ↓ by distance to the context" in answer.out
    assert "holes: center · by share missing: all 12 images in one bin, 20–30 %." in answer.out
    assert Path("breakdown.png").is_file()


@pytest.mark.parametrize("name", ["linear-probe", "knn", "inpainting", "nn-inpainting"])
def test_help_shows_examples_and_holes_where_there_are_any(ce, name):
    shown = ce(f"evaluate {name} --help").out
    assert f"Examples:\n    ce evaluate {name} " in shown
    assert ("--holes HOLES" in shown) == ("--index REF" in shown) == ("inpainting" in name)


def test_results_can_be_read_by_other_programs(ce):
    ce("evaluate knn hog --data photos --no-floors")
    (row,) = json.loads(ce("results show results/local --format json").out)
    assert {"id", "cell", "protocol", "subject", "dataset", "split", "n", "seed", "metrics"} <= set(row)
    assert set(row["metrics"]["accuracy"]) == {"value", "low", "high"}
