from collections.abc import Iterator

import numpy as np
import pytest
import torch

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
from ssl_ce.records.record import Record

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
        assert list(record.metrics) == ["psnr", "l1", "l2", "ssim", "psnr_of_mean_l2"]
        assert record.outcomes is not None
        for name in ("psnr", "l1", "l2", "ssim"):
            values = record.outcomes[name]
            metric = record.metrics[name]
            assert len(values) == 60
            assert metric.value == pytest.approx(np.mean(values))
            assert metric.low < metric.value < metric.high
        assert record.metrics["psnr_of_mean_l2"].value == pytest.approx(-10 * np.log10(np.mean(record.outcomes["l2"])))


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
    first = evaluator.holes("random-region", indices, 0, (32, 32))
    assert torch.equal(first[3:5], evaluator.holes("random-region", indices[3:5], 0, (32, 32)))
    assert not torch.equal(first, evaluator.holes("random-region", indices, 1, (32, 32)))


def test_the_fill_never_sees_the_truth(data: EvaluationData):
    seen: list[torch.Tensor] = []

    class Spy(Copy):
        def fill(self, images: torch.Tensor, holes: torch.Tensor) -> torch.Tensor:
            seen.append(images.masked_select(holes))
            return super().fill(images, holes)

    records_of(Inpainting(InpaintingConfig(holes=("center",))), Spy(data.test.read(range(60))), data)
    assert all((pixels == 0).all() for pixels in seen)


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
    holes = evaluator.holes("random-region", torch.arange(60), 0, (32, 32))
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


def test_settings_that_depart_from_the_protocol_stand_in_the_row(data: EvaluationData):
    config = InpaintingConfig(holes=("center",), options={"side": 0.25})
    record = judge(Inpainting(config), ["mean-color"], data, Env(), lambda record: None)[0]
    assert record.variant == {"holes": "center", "options": "{'side': 0.25}"}


def test_an_unknown_strategy_is_refused_before_anything_runs():
    with pytest.raises(UserError, match="Did you mean center"):
        Inpainting(InpaintingConfig(holes=("centre",)))
