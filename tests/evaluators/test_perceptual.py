"""LPIPS and FID: the numbers are those of their formulas, and what they need is said before anything runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import torchmetrics
import torchvision
from scipy.linalg import sqrtm
from torch import Tensor, nn

from ssl_ce.data.packing import PackedImages
from ssl_ce.errors import UserError
from ssl_ce.evaluators.base import Env, EvaluationData
from ssl_ce.evaluators.inpainting import Inpainting, InpaintingConfig, NearestInpaintingConfig
from ssl_ce.evaluators.judge import judge
from ssl_ce.evaluators.perceptual import LPIPS_SIDE, Fid, Lpips, Perceptual
from ssl_ce.inpainters import load_inpainter
from ssl_ce.records.record import Record

CPU = torch.device("cpu")
ALEXNET = torchvision.models.AlexNet_Weights.DEFAULT.url.rpartition("/")[2]


class Means(nn.Module):
    """Stands in for Inception: the mean red of six parts of the image."""

    num_features = 6

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(images[:, 0].float() / 255, (2, 3)).flatten(1)


class Distance(nn.Module):
    """Stands in for LPIPS: the mean absolute difference of values in [-1, 1]."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        assert min(first.min(), second.min()) >= -1
        assert max(first.max(), second.max()) <= 1
        return (first - second).abs().mean((1, 2, 3), keepdim=True)


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch looks for downloaded weights: an empty folder. A download is an error."""

    def refuse(*given: object, **options: object) -> None:
        raise AssertionError("a download was tried")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture
def alexnet(checkpoints: Path) -> nn.Sequential:
    """AlexNet's layers with random weights, which are in torchvision's file. The classifier, unused, is one number."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        features = torchvision.models.alexnet().features.requires_grad_(False)
    shapes = {"1": (4096, 9216), "4": (4096, 4096), "6": (1000, 4096)}
    state = {f"features.{name}": values for name, values in features.state_dict().items()}
    for layer, (out, into) in shapes.items():
        state[f"classifier.{layer}.weight"] = torch.zeros(1).expand(out, into)
        state[f"classifier.{layer}.bias"] = torch.zeros(1).expand(out)
    torch.save(state, checkpoints / ALEXNET)
    return features


@pytest.fixture
def inpainted(digits_test: PackedImages) -> EvaluationData:
    return EvaluationData(test=digits_test.subset(range(40), "test"))


def images(seed: int, count: int, side: int = 36) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, 3, side, side), dtype=np.uint8))


def judged(evaluator: Inpainting, subjects: list[str], data: EvaluationData) -> list[Record]:
    return judge(evaluator, subjects, data, Env(), lambda record: None)


def test_lpips_is_its_formula_with_alexnets_layers_and_the_published_weights(
    alexnet: nn.Sequential, checkpoints: Path
) -> None:
    metric = Perceptual(["lpips"])
    metric.check(2, (36, 36))
    first, second = images(0, 2), images(1, 2)
    found = Lpips(metric.network("lpips"), CPU).between(first, second)
    published = Path(torchmetrics.__file__).parent / "functional/image/lpips_models/alex.pth"
    weights = torch.load(published, map_location="cpu", weights_only=True)
    shift, scale = (torch.tensor(values)[:, None, None] for values in ([-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]))
    expected = torch.zeros(2)
    x, y = ((part.float() / 127.5 - 1 - shift) / scale for part in (first, second))
    relus = 0
    for layer in alexnet[:-1]:
        x, y = layer(x), layer(y)
        if isinstance(layer, nn.ReLU):
            apart = nn.functional.normalize(x, dim=1) - nn.functional.normalize(y, dim=1)
            expected += (apart.square() * weights[f"lin{relus}.model.1.weight"][0]).sum(1).mean((1, 2))
            relus += 1
    assert relus == 5
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert found.min() > 0.001
    assert Lpips(metric.network("lpips"), CPU).between(first, first).tolist() == [0, 0]


def test_lpips_works_down_to_the_size_that_is_asked_for(alexnet: nn.Sequential) -> None:
    metric = Perceptual(["lpips"])
    metric.check(1, (LPIPS_SIDE, 40))
    network = metric.network("lpips")
    assert Lpips(network, CPU).between(images(0, 1, LPIPS_SIDE), images(1, 1, LPIPS_SIDE)).shape == (1,)
    with pytest.raises(RuntimeError):
        Lpips(network, CPU).between(images(0, 1, LPIPS_SIDE - 1), images(1, 1, LPIPS_SIDE - 1))
    with pytest.raises(UserError, match="lpips needs images of at least 31 pixels a side; these are 40 x 30"):
        metric.check(1, (40, LPIPS_SIDE - 1))


def frechet(first: np.ndarray, second: np.ndarray) -> float:
    """The Fréchet distance of two Gaussians fitted to features (n, d)."""
    means = first.mean(0) - second.mean(0)
    covariances = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    root = sqrtm(covariances[0] @ covariances[1])
    return float(means @ means + np.trace(covariances[0] + covariances[1] - 2 * np.real(root)))


def test_fid_is_the_frechet_distance_of_the_features() -> None:
    truth, filled, other = images(0, 50), images(1, 40) // 2, images(2, 70) // 3
    fid = Fid(Means(), truth.split(30), CPU)
    for completed in (filled, other):
        fid.restart()
        fid.add(completed[:33])
        fid.add(completed[33:])
        features = (Means()(some).double().numpy() for some in (truth, completed))
        assert fid.value() == pytest.approx(frechet(*features), rel=1e-5)


def test_the_record_has_what_was_asked_for_and_says_whose_it_is(inpainted: EvaluationData) -> None:
    evaluator = Inpainting(InpaintingConfig(holes=("center",), perceptual=("lpips", "fid")))
    evaluator.perceptual = Perceptual(evaluator.config.perceptual, {"lpips": Distance(), "fid": Means()})
    records = judged(evaluator, ["telea", "mean-color"], inpainted)
    truth = inpainted.test.read(torch.arange(40))
    holes = evaluator.holes("center", torch.arange(40), 0, inpainted.test)
    for record in records:
        filled = load_inpainter(record.subject.name).fill(truth.masked_fill(holes, 0), holes)
        assert record.outcomes is not None
        apart = (filled.double() - truth.double()).abs().mean((1, 2, 3)) / 127.5
        np.testing.assert_allclose(record.outcomes["lpips"], apart, atol=1e-6)
        assert record.metrics["lpips"].value == pytest.approx(apart.mean().item(), abs=1e-6)
        assert record.metrics["lpips"].low < record.metrics["lpips"].value
        fid = record.metrics["fid"]
        features = (Means()(some).double().numpy() for some in (filled, truth))
        assert fid.value == pytest.approx(frechet(*features), rel=1e-4)
        assert (fid.spread, fid.low, fid.higher_is_better) == ("n/a", None, False)
        assert list(record.metrics)[-2:] == ["lpips", "fid"]
        assert record.variant == {"holes": "center", "perceptual": "fid, lpips"}
        for name in ("lpips", "fid"):
            assert record.notes["implementations"][name].startswith(f"torchmetrics {torchmetrics.__version__}")


def test_they_are_not_there_unless_asked_for(inpainted: EvaluationData, checkpoints: Path) -> None:
    (record,) = judged(Inpainting(InpaintingConfig(holes=("center",))), ["mean-color"], inpainted)
    assert not {"lpips", "fid"} & {*record.metrics, *record.outcomes, *record.notes["implementations"]}


def test_too_few_images_for_a_covariance_are_refused(inpainted: EvaluationData) -> None:
    with pytest.raises(UserError, match=r"singular below 2,049 test images; there are 40\. Give more"):
        judged(Inpainting(InpaintingConfig(perceptual=("fid",))), ["mean-color"], inpainted)
    Perceptual(["fid"], {"fid": Means()}).check(7, (32, 32))
    with pytest.raises(UserError, match="singular below 7 test images; there are 6"):
        Perceptual(["fid"], {"fid": Means()}).check(6, (32, 32))


def test_weights_that_are_not_there_are_named_with_the_way_to_get_them(
    inpainted: EvaluationData, checkpoints: Path
) -> None:
    where = checkpoints / ALEXNET
    with pytest.raises(UserError) as refused:
        judged(Inpainting(InpaintingConfig(perceptual=("lpips",))), ["mean-color"], inpainted)
    for part in ("torchvision's AlexNet", f"{where} is not there", f"curl -L --create-dirs -o {where} https://"):
        assert part in str(refused.value)


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def _of_another(path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_truncated, "is not a readable weights file"),
        (_of_another, "does not hold the weights of torchvision's AlexNet"),
    ],
)
def test_a_file_without_the_weights_is_refused_in_one_line(
    damage: Callable[[Path], None], message: str, alexnet: nn.Sequential, checkpoints: Path
) -> None:
    damage(checkpoints / ALEXNET)
    with pytest.raises(UserError, match=message) as refused:
        Perceptual(["lpips"]).check(1, (36, 36))
    assert ALEXNET in str(refused.value)
    assert "\n" not in str(refused.value)


def test_fid_says_that_its_extra_or_its_weights_are_missing(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(UserError, match=r"fid needs the extra 'fid': pip install 'ssl-ce\[fid\]'"):
        Perceptual(["fid"]).check(2049, (36, 36))
    there = ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    there.URL_INCEPTION_V3 = "https://example.org/inception.pth"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, there.__name__, there)
    with pytest.raises(UserError, match=r"fid needs the weights of torch-fidelity's Inception, and .*inception\.pth"):
        Perceptual(["fid"]).check(2049, (36, 36))


def test_a_misspelt_metric_is_answered_with_the_closest() -> None:
    with pytest.raises(UserError, match=r"no perceptual metric named 'lpisp'\. Did you mean lpips\?"):
        Inpainting(InpaintingConfig(perceptual=("fid", "lpisp")))


def test_settings_that_were_left_alone_do_not_change_what_a_cell_declares() -> None:
    first = {"holes": ["center", "random-block", "random-region"], "options": {}}
    assert InpaintingConfig().model_dump(mode="json") == first
    assert NearestInpaintingConfig().model_dump(mode="json") == {**first, "bank": 4}
    assert NearestInpaintingConfig(index="full").model_dump(mode="json") == {**first, "bank": 4, "index": "full"}
    asked = InpaintingConfig.model_validate({"perceptual": "lpips, fid,lpips"})
    assert asked.model_dump(mode="json")["perceptual"] == ["fid", "lpips"]
