from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

import ssl_ce
from ssl_ce.data.packing import PackedImages
from ssl_ce.descriptors import load_descriptor
from ssl_ce.descriptors.base import Calibratable, Descriptor, TrainableBackbone
from ssl_ce.descriptors.cache import FeatureCache
from ssl_ce.descriptors.learned import NetworkDescriptor
from ssl_ce.errors import UserError
from ssl_ce.holes import draw
from ssl_ce.networks.encoder import EncoderConfig, build_encoder
from ssl_ce.pretraining.loop import pretrain
from ssl_ce.pretraining.recipe import load_recipe
from ssl_ce.randomness import sample_keys

NETWORKS = [
    "random:alexnet?size=32&width=0.25",
    "random:dcgan@conv2?size=32&width=0.25&pool=2",
    "random:alexnet@conv3?size=64&width=0.25&norm=batch&pool=flat",
    "random:torchvision:resnet18@layer1?pool=1",
    "random:torchvision:alexnet@conv2",
    "random:timm:resnet18@layer2",
]


@pytest.fixture(scope="session")
def tiny_run(digits_train: PackedImages, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = ["method.encoder.width=0.1", "method.decoder.width=0.1", "optim.steps=4", "optim.epochs=null"]
    recipe = load_recipe("quickstart", [*settings, "data.source=digits", "log.tensorboard=false"])
    return pretrain(recipe, digits_train, tmp_path_factory.mktemp("runs") / "tiny")


def images_and_holes(size: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 3, size, size), dtype=torch.uint8, generator=generator)
    return images, draw("random-region", sample_keys(0, 0, torch.arange(4), "hole"), size, size)


@pytest.mark.parametrize("reference", NETWORKS)
def test_a_network_describes_images_and_only_the_context_of_holes(reference: str):
    if "timm" in reference:
        pytest.importorskip("timm", reason="the extra timm is not installed")
    descriptor = load_descriptor(reference)
    images, holes = images_and_holes()
    features = descriptor.describe(images)
    assert features.dtype == torch.float32
    assert features.shape == (4, descriptor.dim(32, 32))
    hidden = descriptor.describe(images, holes)
    assert not torch.equal(hidden, features)
    assert torch.equal(hidden, descriptor.describe(torch.where(holes, 255 - images, images), holes))
    assert isinstance(descriptor, Descriptor)
    assert isinstance(descriptor, TrainableBackbone)


@pytest.mark.parametrize("reference", NETWORKS[:3])
def test_features_do_not_depend_on_the_batch(reference: str):
    descriptor = load_descriptor(reference)
    images, _ = images_and_holes()
    apart = torch.cat([descriptor.describe(image[None]) for image in images])
    assert torch.allclose(descriptor.describe(images), apart, atol=1e-5)


def test_the_same_reference_has_the_same_identity_and_any_change_another():
    first = load_descriptor(NETWORKS[0])
    assert load_descriptor(NETWORKS[0]).identity == first.identity
    others = [NETWORKS[0] + "&seed=1", NETWORKS[0] + "&pool=2", NETWORKS[0].replace("?", "@conv4?")]
    assert len({first.identity, *(load_descriptor(other).identity for other in others)}) == 4


def test_pooling_is_the_average_over_a_grid(digits_test: PackedImages):
    images = digits_test.read(range(3))
    whole = load_descriptor("random:dcgan@conv1?size=32&width=0.1&pool=flat").describe(images)
    pooled = load_descriptor("random:dcgan@conv1?size=32&width=0.1&pool=2").describe(images)
    maps = whole.reshape(3, -1, 16, 16)
    expected = maps.reshape(3, maps.shape[1], 2, 8, 2, 8).mean((3, 5)).flatten(1)
    assert torch.allclose(pooled, expected, atol=1e-6)


def test_calibration_gives_batchnorm_the_statistics_of_the_images(digits_train: PackedImages):
    encoder = build_encoder(EncoderConfig(name="dcgan", width=0.1), 32)
    descriptor = NetworkDescriptor("untrained", encoder, "conv2", untrained=True)
    assert descriptor.needs_calibration
    assert isinstance(descriptor, Calibratable)
    few = digits_train.subset(range(64), "few")
    calibrated = descriptor.calibrated(few)
    assert calibrated.identity != descriptor.identity
    assert not calibrated.needs_calibration
    x = few.read(range(64)).float() / 127.5 - 1
    with torch.no_grad():
        before_norm = encoder.stages["conv2"][0](encoder.stages["conv1"](x))
    norm = calibrated.encoder.stages["conv2"][1]
    assert torch.allclose(norm.running_mean, before_norm.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(norm.running_var, before_norm.var((0, 2, 3)), rtol=1e-4)


def test_a_runs_taps_its_initial_encoder_and_the_python_interface(tiny_run: Path, digits_test: PackedImages):
    images = digits_test.read(range(5))
    subject = ssl_ce.load(str(tiny_run))
    features = subject.describe(images.numpy())
    assert torch.equal(features, load_descriptor(str(tiny_run)).describe(images))
    initial = load_descriptor(f"init:{tiny_run}")
    assert isinstance(initial, NetworkDescriptor)
    assert initial.needs_calibration
    assert not load_descriptor(str(tiny_run)).needs_calibration
    assert not torch.equal(features, initial.describe(images))
    holes = draw("center", torch.arange(5), 32, 32)
    filled = subject.fill(images, holes[:1])
    assert torch.equal(filled.masked_fill(holes, 0), images.masked_fill(holes, 0))
    with pytest.raises(UserError, match="describes images; it fills no holes"):
        ssl_ce.load("hog").fill(images, holes)
    with pytest.raises(UserError, match="does not describe"):
        ssl_ce.load("telea").describe(images)


def test_a_trainable_copy_is_fresh_and_the_descriptor_stays_frozen(tiny_run: Path):
    descriptor = load_descriptor(str(tiny_run))
    before = descriptor.state_hash()
    encoder = descriptor.trainable()
    assert all(parameter.requires_grad for parameter in encoder.parameters())
    for parameter in encoder.parameters():
        parameter.data.add_(1)
    assert descriptor.state_hash() == before


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("hogg", "Did you mean hog"),
        ("hog?cel=4", "Did you mean cell"),
        ("hog@conv1", "has no taps"),
        ("random:alexnt", "Did you mean alexnet"),
        ("random:alexnet?sise=64", "Did you mean size"),
        ("random:alexnet@conv9", "no tap of random:alexnet named 'conv9'"),
        ("random:alexnet?size=31", "from 32 pixels"),
        ("random:alexnet?pool=big", "grid side"),
        ("random:torchvision:resnet17", "Did you mean resnet1"),
        ("random:torchvision:vit_b_16@encoder", "tap"),
        ("nearest:hog", "fills holes"),
        ("runs/nothing-here", "There is no run at"),
        ("init:runs/nothing-here", "There is no run at"),
        ("file:nothing.pt", "no weights file"),
    ],
)
def test_a_wrong_subject_is_refused_with_what_to_do(reference: str, words: str):
    with pytest.raises(UserError, match=words) as caught:
        load_descriptor(reference)
    assert "\n" not in str(caught.value)


def test_pretrained_weights_that_cannot_be_downloaded_are_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(UserError, match="could not be had: no network"):
        load_descriptor("torchvision:resnet18")


def test_somebodys_alexnet_checkpoint_loads_with_its_coverage(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    model = torchvision.models.alexnet()
    torch.save({"state_dict": {f"module.{key}": value for key, value in model.state_dict().items()}}, tmp_path / "a.pt")
    descriptor = load_descriptor(f"file:{tmp_path / 'a.pt'}?encoder=alexnet&prefix=module.")
    assert "10 of 10 tensors" in capsys.readouterr().err
    assert isinstance(descriptor, NetworkDescriptor)
    weights = descriptor.encoder.state_dict()
    assert torch.equal(weights["stages.conv3.0.weight"], model.state_dict()["features.6.weight"])


def test_a_checkpoint_of_another_architecture_is_taken_in_part_if_asked_for(tmp_path: Path):
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "r.pt")
    for partial in ("", "&partial=true"):  # nothing of it fits
        with pytest.raises(UserError, match="covers 0 of 10 tensors"):
            load_descriptor(f"file:{tmp_path / 'r.pt'}?encoder=alexnet{partial}")
    half = {
        name: value for name, value in torchvision.models.alexnet().state_dict().items() if "features.0" not in name
    }
    torch.save(half, tmp_path / "h.pt")
    with pytest.raises(UserError, match="covers 8 of 10 tensors"):
        load_descriptor(f"file:{tmp_path / 'h.pt'}?encoder=alexnet")
    assert load_descriptor(f"file:{tmp_path / 'h.pt'}?encoder=alexnet&partial=true").identity


def test_features_are_computed_once_and_kept_by_content(digits_test: PackedImages, tmp_path: Path):
    calls: list[int] = []

    class Counting(NetworkDescriptor):
        def describe(self, images: torch.Tensor, holes: torch.Tensor | None = None) -> torch.Tensor:
            calls.append(len(images))
            return super().describe(images, holes)

    def descriptor(seed: int) -> Counting:
        torch.manual_seed(seed)
        return Counting("counting", build_encoder(EncoderConfig(name="dcgan", width=0.1), 32))

    cache = FeatureCache(tmp_path, batch_size=200)
    few = digits_test.subset(range(250), "few")
    first = cache.features(descriptor(0), few)
    assert calls == [200, 50]
    again = cache.features(descriptor(0), few)
    assert calls == [200, 50]
    assert isinstance(again, np.memmap)
    assert np.array_equal(first, again)
    cache.features(descriptor(1), few)
    cache.features(descriptor(0), digits_test.subset(range(1, 251), "others"))
    hole = draw("center", torch.arange(1), 32, 32)
    hidden = cache.features(descriptor(0), few, hole)
    assert len(calls) == 8
    assert not np.array_equal(hidden, first)
    assert not list(tmp_path.rglob("*.tmp"))
