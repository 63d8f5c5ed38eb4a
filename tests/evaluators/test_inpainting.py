from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

import ssl_ce
from ssl_ce.data.packing import PackedImages
from ssl_ce.descriptors.cache import FeatureCache
from ssl_ce.errors import UserError
from ssl_ce.evaluators.base import Env, EvaluationData
from ssl_ce.evaluators.inpainting import (
    Inpainting,
    InpaintingConfig,
    NearestInpainting,
    NearestInpaintingConfig,
)
from ssl_ce.evaluators.judge import judge, with_floors
from ssl_ce.holes import draw_bank
from ssl_ce.inpainters import load_inpainter
from ssl_ce.records.record import Record
from ssl_ce.rings import RINGS
from ssl_ce.settings import parse

STRATEGIES = ("center", "random-block", "random-region")


@pytest.fixture(scope="module")
def data(digits_train: PackedImages, digits_test: PackedImages) -> EvaluationData:
    return EvaluationData(test=digits_test.subset(range(60), "test"), train=digits_train.subset(range(200), "train"))


class Copy:
    """Knows the truth: a sanity row. `error` is added to every filled value."""

    def __init__(self, truth: torch.Tensor, error: int = 0) -> None:
        self.name, self.identity = f"copy+{error}", f"copy+{error}"
        self.truth, self.error = truth, error
        self.at = 0

    def fill(self, images: torch.Tensor, holes: torch.Tensor) -> torch.Tensor:
        if len(images) == 1:
            return images
        values = (self.truth.int() + self.error).clamp(0, 255).to(torch.uint8)
        return torch.where(holes, values, images)

    def state_hash(self) -> str:
        return ""


def records_of(evaluator: Inpainting, subject: object, data: EvaluationData, seed: int = 0) -> list[Record]:
    found: Iterator[Record] = evaluator.run(subject, data, Env(seed=seed))  # type: ignore[arg-type]
    return list(found)


def test_there_is_one_record_for_each_strategy_with_an_outcome_for_each_image(data: EvaluationData):
    records = judge(Inpainting(InpaintingConfig()), ["telea"], data, Env(), lambda record: None)
    assert [record.variant["holes"] for record in records] == list(STRATEGIES)
    for record in records:
        assert record.protocol == "inpainting@1"
        assert list(record.metrics) == [
            "psnr", "l1", "l2", "ssim", "psnr_of_mean_l2", "seam",
            "image_psnr", "image_l1", "image_l2", "image_ssim", "image_psnr_of_mean_l2",
        ]  # fmt: skip
        assert record.outcomes is not None
        for name in ("psnr", "l1", "l2", "ssim", "seam", "image_psnr", "image_l1", "image_l2", "image_ssim"):
            values = record.outcomes[name]
            metric = record.metrics[name]
            assert len(values) == 60
            assert metric.value == pytest.approx(np.mean(values))
            assert metric.low < metric.value < metric.high
        for over in ("", "image_"):
            mean_l2 = np.mean(record.outcomes[f"{over}l2"])
            assert record.metrics[f"{over}psnr_of_mean_l2"].value == pytest.approx(-10 * np.log10(mean_l2))
        higher = {name for name, metric in record.metrics.items() if metric.higher_is_better}
        assert higher == {name for name in record.metrics if "psnr" in name or "ssim" in name}


def test_the_truth_is_perfect_and_a_known_error_has_the_metrics_of_arithmetic(data: EvaluationData):
    truth = data.test.read(range(60))
    evaluator = Inpainting(InpaintingConfig(holes=("center",)))
    perfect = records_of(evaluator, Copy(truth), data)[0].metrics
    assert (perfect["l1"].value, perfect["l2"].value, perfect["ssim"].value) == (0, 0, pytest.approx(1))
    dark = torch.full_like(truth, 100)
    dark_data = EvaluationData(test=_Fixed(dark, data.test))  # type: ignore[arg-type]
    off = records_of(evaluator, Copy(dark, error=51), dark_data)[0].metrics
    assert off["l1"].value == pytest.approx(0.2)
    assert off["l2"].value == pytest.approx(0.04)
    assert off["psnr"].value == pytest.approx(-10 * np.log10(0.04))


def test_how_much_is_missing_and_how_far_inside_are_outcomes_and_no_metrics(data: EvaluationData):
    evaluator = Inpainting(InpaintingConfig(holes=("random-region",)))
    truth = data.test.read(range(60))
    (record,) = records_of(evaluator, Copy(truth, error=51), data)
    assert record.outcomes is not None
    diagnostics = ["missing", *RINGS]
    assert list(record.outcomes)[-len(diagnostics) :] == diagnostics
    assert not set(diagnostics) & set(record.metrics)
    holes = evaluator.holes("random-region", torch.arange(60), 0, data.test)
    np.testing.assert_allclose(record.outcomes["missing"], holes.double().mean((1, 2, 3)))
    # The rings share the hole's pixels among them: weighted by their sizes they give the error of the hole.
    distances = [distance_transform_edt(hole[0])[hole[0]] for hole in holes.numpy()]
    sizes = np.array([np.histogram(far, [0, 1.01, 2.01, 4.01, 8.01, 16.01, 32.01, np.inf])[0] for far in distances])
    rings = np.array([record.outcomes[name] for name in RINGS]).T
    assert np.array_equal(np.isnan(rings), sizes == 0)
    np.testing.assert_allclose((np.nan_to_num(rings) * sizes).sum(1) / sizes.sum(1), record.outcomes["l1"])


def test_a_record_says_whose_its_metrics_are_and_why_one_is_not_there(data: EvaluationData):
    (record,) = records_of(Inpainting(InpaintingConfig(holes=("center",))), load_inpainter("mean-color"), data)
    assert record.notes["implementations"] == {", ".join(record.metrics): f"ssl-ce {ssl_ce.__version__}"}
    assert record.notes["image_ms_ssim"] == (
        "left out: its five scales need at least 176 pixels a side, these images have 32 x 32"
    )


def test_images_that_are_large_enough_have_a_multi_scale_ssim(data: EvaluationData):
    large = data.test.read(range(2)).repeat_interleave(6, 2).repeat_interleave(6, 3)
    sizes = _Fixed(large, data.test)
    sizes.size = (192, 192)
    evaluator = Inpainting(InpaintingConfig(holes=("center",)))
    (record,) = records_of(evaluator, load_inpainter("mean-color"), EvaluationData(test=sizes))  # type: ignore[arg-type]
    assert list(record.metrics)[-1] == "image_ms_ssim"
    assert 0 < record.metrics["image_ms_ssim"].value < 1
    assert "image_ms_ssim" in next(iter(record.notes["implementations"]))
    assert "image_ms_ssim" not in record.notes


def test_whether_holes_mix_classes_is_an_outcome_where_it_is_known(
    data: EvaluationData, monkeypatch: pytest.MonkeyPatch
):
    evaluator = Inpainting(InpaintingConfig(holes=("center",)))

    def odd(test: object, indices: torch.Tensor, holes: torch.Tensor) -> np.ndarray:
        assert holes.shape == (len(indices), 1, 32, 32)
        return (indices % 2).double().numpy()

    (before,) = records_of(evaluator, load_inpainter("mean-color"), data)
    monkeypatch.setattr("ssl_ce.evaluators.inpainting.mixes", odd)
    (record,) = records_of(evaluator, load_inpainter("mean-color"), data)
    assert before.outcomes is not None
    assert record.outcomes is not None
    assert "mixes" not in before.outcomes
    assert record.outcomes["mixes"] == [0.0, 1.0] * 30
    assert list(record.metrics) == list(before.metrics)


def test_of_one_image_there_is_no_interval(data: EvaluationData, digits_test: PackedImages):
    one = EvaluationData(test=digits_test.subset(range(1), "test"))
    (record,) = records_of(Inpainting(InpaintingConfig(holes=("center",))), load_inpainter("mean-color"), one)
    assert all((metric.low, metric.spread) == (None, "n/a") for metric in record.metrics.values())
    assert record.metrics["psnr_of_mean_l2"].value == pytest.approx(record.metrics["psnr"].value)


class _Fixed:
    """An image set with other pixels."""

    def __init__(self, pixels: torch.Tensor, like: PackedImages) -> None:
        self.pixels = pixels
        self.name, self.split, self.task, self.classes = "fixed", "test", "none", ()
        self.fingerprint, self.size, self.source = "fixed", like.size, {}

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, indices: torch.Tensor) -> torch.Tensor:
        return self.pixels[torch.as_tensor(indices)]


def test_every_subject_sees_the_same_holes_and_another_seed_sees_others(data: EvaluationData):
    evaluator = Inpainting(InpaintingConfig())
    indices = torch.arange(10)
    first = evaluator.holes("random-region", indices, 0, data.test)
    assert torch.equal(first[3:5], evaluator.holes("random-region", indices[3:5], 0, data.test))
    assert not torch.equal(first, evaluator.holes("random-region", indices, 1, data.test))


def test_the_fill_never_sees_the_truth(data: EvaluationData):
    seen: list[torch.Tensor] = []

    class Spy(Copy):
        def fill(self, images: torch.Tensor, holes: torch.Tensor) -> torch.Tensor:
            seen.append(images[holes.expand_as(images)])
            return super().fill(images, holes)

    records_of(Inpainting(InpaintingConfig(holes=("center",))), Spy(data.test.read(range(60))), data)
    assert [len(pixels) for pixels in seen] == [3 * 60 * 16 * 16]
    assert (seen[0] == 0).all()


def test_an_inpainter_that_changes_the_context_is_refused(data: EvaluationData):
    class Vandal(Copy):
        def fill(self, images: torch.Tensor, holes: torch.Tensor) -> torch.Tensor:
            return images + 1

    with pytest.raises(UserError, match="changes pixels of the context"):
        records_of(Inpainting(InpaintingConfig(holes=("center",))), Vandal(data.test.read(range(60))), data)


def test_nearest_inpainting_equals_a_search_by_hand(data: EvaluationData, tmp_path):
    """For nearest:pixels under the bank's masks: describe both sides under the mask, take the nearest, paste, score."""
    from ssl_ce.descriptors import load_descriptor

    evaluator = NearestInpainting(NearestInpaintingConfig(holes=("random-region",), bank=2))
    record = judge(evaluator, ["pixels"], data, Env(cache=FeatureCache(tmp_path)), lambda record: None)[0]
    assert record.protocol == "nn-inpainting@1"
    assert record.subject.name == "nearest:pixels"
    descriptor, bank = load_descriptor("pixels"), draw_bank("random-region", 2, 0, 32, 32)
    train, test = data.train.read(range(200)), data.test.read(range(60))
    holes = evaluator.holes("random-region", torch.arange(60), 0, data.test)
    l1 = []
    for image, hole in zip(test, holes, strict=True):
        assert any(torch.equal(hole, mask) for mask in bank)
        query = descriptor.describe(image[None], hole[None]).double()[0]
        base = descriptor.describe(train, hole[None].expand(200, -1, -1, -1)).double()
        similarity = (base @ query) / (base.norm(dim=1) * query.norm())
        pasted = train[int(similarity.argmax())]
        inside = hole.expand(3, -1, -1)
        l1.append((pasted[inside].double() - image[inside].double()).abs().mean().item() / 255)
    assert record.outcomes is not None
    assert record.outcomes["l1"] == pytest.approx(l1, abs=1e-9)


def test_a_descriptor_is_read_as_its_nearest_neighbours():
    evaluator = NearestInpainting(NearestInpaintingConfig())
    assert [evaluator.reference(text) for text in ("hog?cell=4", "nearest:hog", "telea?radius=3", "runs/x@conv3")] == [
        "nearest:hog?cell=4", "nearest:hog", "telea?radius=3", "nearest:runs/x@conv3",
    ]  # fmt: skip
    assert with_floors(evaluator, ["runs/x@conv3"]) == [
        "nearest:runs/x@conv3", "nearest:pixels", "nearest:hog", "nearest:init:runs/x@conv3", "mean-color",
    ]  # fmt: skip


def test_an_index_of_whole_images_is_asked_for_by_one_setting_and_told_in_the_name():
    full = NearestInpainting(NearestInpaintingConfig(index="full"))
    texts = (
        "hog", "nearest?k=3:hog", "nearest?index=bank:hog", "nearest?complete=telea:hog", "scene-completion",
        "fill:runs/x", "telea",
    )  # fmt: skip
    read = ["nearest?index=full:hog", "nearest?k=3&index=full:hog", *texts[2:]]
    assert [full.reference(text) for text in texts] == read
    assert [full.reference(text) for text in read] == read
    with_own_holes = Inpainting(InpaintingConfig(index="full"))
    assert [with_own_holes.reference(text) for text in ("nearest:hog", "runs/x")] == [
        "nearest?index=full:hog",
        "runs/x",
    ]


def test_every_kind_of_inpainter_stands_in_one_table_with_holes_of_its_own_for_each_image(
    data: EvaluationData, tiny_run: Path
):
    evaluator = Inpainting(InpaintingConfig(holes=("random-region",), index="full"))
    names = [
        "telea",
        str(tiny_run),
        "nearest:hog",
        f"nearest?complete={tiny_run}:pixels",
        "scene-completion?k=3&align=1",
    ]
    records = judge(evaluator, names, data, Env(), lambda record: None)
    assert [record.variant for record in records] == [{"holes": "random-region"}] * 5
    assert all(np.isfinite(record.metrics["psnr"].value) for record in records)
    own = NearestInpainting(NearestInpaintingConfig(holes=("random-region",), bank=2))
    rows = judge(own, [f"fill:{tiny_run}", str(tiny_run), "scene-completion"], data, Env(), lambda record: None)
    assert [row.subject.name for row in rows] == [f"fill:{tiny_run}", f"nearest:{tiny_run}", "scene-completion"]


def test_more_holes_than_a_bank_has_are_refused_before_anything_is_judged(data: EvaluationData):
    evaluator = Inpainting(InpaintingConfig(holes=("center", "random-block")))
    judged: list[Record] = []
    with pytest.raises(UserError, match=r"nearest\?index=full:hog"):
        judge(evaluator, ["telea", "nearest:hog"], data, Env(), judged.append)
    assert not judged


def test_searched_images_that_are_the_image_to_fill_are_left_out_and_counted(data: EvaluationData):
    same = EvaluationData(test=data.test, train=data.test)
    evaluator = NearestInpainting(NearestInpaintingConfig(holes=("center", "random-block"), bank=2))
    for record in judge(evaluator, ["pixels"], same, Env(), lambda record: None):
        assert record.notes["images left out because they equal the query"] >= 60
        assert max(record.outcomes["psnr"]) < 100.0  # nobody was filled with the truth
    others = judge(evaluator, ["pixels", "telea"], data, Env(), lambda record: None)
    assert [record.notes.get("images left out because they equal the query") for record in others] == [0, 0, None, None]


def test_no_holes_are_refused_and_the_same_twice_are_judged_once(data: EvaluationData):
    with pytest.raises(UserError, match="holes"):
        parse(InpaintingConfig, {"holes": []}, "settings")
    with pytest.raises(UserError, match="--holes is empty"):
        Inpainting(InpaintingConfig(holes=("",)))
    twice = Inpainting(InpaintingConfig(holes=("center", "center")))
    assert len(judge(twice, ["mean-color"], data, Env(), lambda record: None)) == 1


def test_noise_is_as_far_from_the_truth_as_arithmetic_says(data: EvaluationData):
    """A sanity row: of uniform noise u in 0 ... 255 the mean of |u - t| follows from t alone."""

    class Noise:
        name = identity = "noise"

        def fill(self, images: torch.Tensor, holes: torch.Tensor) -> torch.Tensor:
            generator = torch.Generator().manual_seed(0)
            noise = torch.randint(0, 256, images.shape, generator=generator, dtype=torch.uint8)
            return torch.where(holes, noise, images)

        def state_hash(self) -> str:
            return ""

    record = records_of(Inpainting(InpaintingConfig(holes=("center",))), Noise(), data)[0]
    truth = data.test.read(range(60)).double()[..., 8:24, 8:24]
    expected = (truth * (truth + 1) / 2 + (255 - truth) * (256 - truth) / 2) / 256 / 255
    assert record.metrics["l1"].value == pytest.approx(float(expected.mean()), rel=0.01)
    assert record.metrics["ssim"].value < 0.1


def test_settings_that_depart_from_the_protocol_stand_in_the_row(data: EvaluationData):
    config = InpaintingConfig(holes=("center",), options={"side": 0.25})
    record = judge(Inpainting(config), ["mean-color"], data, Env(), lambda record: None)[0]
    assert record.variant == {"holes": "center", "options": "side=0.25"}


def test_an_unknown_strategy_is_refused_before_anything_runs():
    with pytest.raises(UserError, match="Did you mean center"):
        Inpainting(InpaintingConfig(holes=("centre",)))
