"""`ce export`: the encoder leaves, and what leaves computes what it computed here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision

from ssl_ce.descriptors import load_descriptor
from ssl_ce.methods.saved import load_run, read_safetensors

ALEXNET = (
    "pretrain ce-alexnet-96 --data digits --steps 2 --batch-size 4 --set log.tensorboard=false "
    "--set log.samples_every=0 --set log.online_every=0 --set method.decoder.width=0.1"
)


@pytest.fixture
def images() -> torch.Tensor:
    return 2 * torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) - 1


def test_safetensors_hold_the_encoder_by_our_names(ce, tiny_run):
    answer = ce(f"export {tiny_run} --format safetensors -o encoder.safetensors")
    assert answer.code == 0, answer.err
    exported, own = read_safetensors(Path("encoder.safetensors")), load_run(tiny_run).encoder.state_dict()
    assert exported.keys() == own.keys()
    assert all(torch.equal(exported[key], own[key]) for key in own)
    assert answer.out == "encoder.safetensors: 13 tensors of the encoder, for values in [-1, 1] at 32 x 32.\n"


def test_torchvisions_alexnet_computes_the_same_with_the_exported_weights(ce):
    assert ce(f"{ALEXNET} --out alexnet").code == 0
    answer = ce("export alexnet --format torchvision -o alexnet.pt")
    assert answer.code == 0, answer.err
    theirs = torchvision.models.alexnet().eval()
    left = theirs.load_state_dict(torch.load("alexnet.pt", weights_only=True), strict=False)
    assert left.unexpected_keys == []
    assert all(key.startswith("classifier.") for key in left.missing_keys)
    theirs.features[0].stride, theirs.features[0].padding = (2, 2), (5, 5)  # the stem for 96 pixels
    ours = load_run(Path("alexnet")).encoder
    x = torch.rand(2, 3, 96, 96) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(theirs.features(x), ours.maps(x, ["pool5"])["pool5"], rtol=1e-4, atol=1e-4)


def test_onnx_computes_the_same_for_any_number_of_images(ce, tiny_run, images):
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    assert ce(f"export {tiny_run} --format onnx -o encoder.onnx").code == 0
    assert [path.name for path in Path().iterdir()] == ["encoder.onnx"]
    session, encoder = onnxruntime.InferenceSession("encoder.onnx"), load_run(tiny_run).encoder
    for count in (1, 3):
        with torch.no_grad():
            expected = encoder(images[:count])
        (found,) = session.run(["features"], {"images": images[:count].numpy()})
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-5)


TIMM = (
    "pretrain quickstart --data digits --steps 2 --batch-size 4 --set log.tensorboard=false --set log.samples_every=0 "
    "--set log.online_every=0 --set method.size=64 --set method.decoder.kind=upconv --set method.decoder.width=0.1 "
    "--set method.encoder.width=1 --set method.encoder.name="
)


@pytest.mark.parametrize("name", ["resnet18", "timm:convnext_atto", "timm:mobilenetv3_small_050"])
def test_timm_loads_the_exported_folder_and_computes_the_same(ce, name):
    timm = pytest.importorskip("timm", reason="the extra timm is not installed")
    assert ce(f"{TIMM}{name} --out run").code == 0
    answer = ce("export run --format timm -o folder")
    assert answer.code == 0, answer.err
    assert sorted(path.name for path in Path("folder").iterdir()) == ["config.json", "model.safetensors"]
    assert ("Never trained" in answer.out) == (name != "resnet18")
    ours = load_run(Path("run")).encoder
    last = list(ours.taps)[-1]
    x = 2 * torch.rand(2, 3, 64, 64) - 1
    features = timm.create_model("local-dir:folder", pretrained=True, features_only=True).eval()
    whole = timm.create_model(
        name.removeprefix("timm:"), num_classes=0, checkpoint_path="folder/model.safetensors"
    ).eval()
    with torch.no_grad():
        expected = ours.maps(x, [last])[last]
        torch.testing.assert_close(features(x)[-1], expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(whole.forward_features(x), expected, rtol=1e-5, atol=1e-5)
    config = timm.data.resolve_model_data_config(timm.create_model("local-dir:folder", pretrained=True))
    assert (list(config["mean"]), list(config["input_size"])) == ([0.5] * 3, [3, 64, 64])
    back = load_descriptor(f"file:folder/model.safetensors?encoder={name}")
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    assert torch.equal(back.describe(images), load_descriptor("run").describe(images))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("resnet18 --set method.size=32 --set method.decoder.kind=upconv", "below 64 pixels ResNets have another stem"),
        ("alexnet", "timm has no network like the encoder 'alexnet'"),
    ],
)
def test_what_timm_has_not_is_refused(ce, settings, said):
    pytest.importorskip("timm", reason="the extra timm is not installed")
    trained = ce(f"{TIMM}{settings} --out run")
    assert trained.code == 0, trained.err
    answer = ce("export run --format timm -o folder")
    assert answer.code == 2
    assert said in answer.err
    assert not Path("folder").exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--format torchvision -o e.pt", "Only a pooled AlexNet has torchvision's layout"),
        ("--format safetensors -o mine.txt", "--force"),
        ("--format safetensors -o folder", "Name the file to write, for example folder/encoder.safetensors"),
        ("--format timm -o folder", "folder exists already"),
        ("--format timm -o mine.txt/e", "is a file. Choose another place"),
        ("--format safetensors -o mine.txt/e", "is a file. Choose another place"),
    ],
)
def test_what_cannot_be_written_is_refused_and_nothing_is_replaced(ce, tiny_run, tmp_path, line, said):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "folder").mkdir()
    answer = ce(f"export {tiny_run} {line}")
    assert answer.code == 2
    assert said in answer.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "mine.txt"]
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_file_is_replaced_by_force(ce, tiny_run, tmp_path):
    (tmp_path / "e.safetensors").write_text("old")
    assert ce(f"export {tiny_run} --format safetensors -o e.safetensors --force").code == 0
    assert read_safetensors(tmp_path / "e.safetensors")


def test_a_missing_extra_is_named(ce, tiny_run, monkeypatch):
    monkeypatch.setattr("ssl_ce.methods.export.find_spec", lambda name: None)
    answer = ce(f"export {tiny_run} --format onnx -o e.onnx")
    assert answer.code == 2
    assert "pip install 'ssl-ce[onnx]'" in answer.err
