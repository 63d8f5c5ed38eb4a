"""Checkpoints as people have them: layouts, wrappers, prefixes, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import safetensors.torch
import torch
import torchvision
from torch import Tensor

from ssl_ce.descriptors import load_descriptor
from ssl_ce.descriptors.learned import NetworkDescriptor
from ssl_ce.errors import UserError
from ssl_ce.methods.saved import load_run, save_encoder
from ssl_ce.networks.encoder import EncoderConfig, build_encoder

IMAGENET = (0.485, 0.456, 0.406)


@pytest.fixture(scope="module")
def model() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return torchvision.models.resnet18(num_classes=3).eval()


@pytest.fixture(scope="module")
def state(model: Any) -> dict[str, Tensor]:
    return dict(model.state_dict())


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., NetworkDescriptor]:
    """`load(contents, "encoder=resnet18")`: what was saved by torch, loaded through a reference."""

    def run(contents: Any, options: str, size: int | None = 64) -> NetworkDescriptor:
        torch.save(contents, tmp_path / "weights.pt")
        found = load_descriptor(f"file:{tmp_path}/weights.pt?{options}{f'&size={size}' if size else ''}")
        assert isinstance(found, NetworkDescriptor)
        return found

    return run


def prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


@torch.no_grad()
def layer4(model: Any, x: Tensor) -> Tensor:
    x = model.maxpool(model.relu(model.bn1(model.conv1(x))))
    for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
        x = layer(x)
    return x


@torch.no_grad()
@pytest.mark.parametrize(
    ("wrap", "options", "said"),
    [
        (lambda state: state, "", "torchvision's names)"),
        (lambda state: prefixed(state, "module."), "", "prefix 'module.' stripped"),
        (lambda state: {"model": state, "epoch": 3}, "", "its 'model'"),
        (lambda state: {"state_dict": prefixed(state, "module.backbone.")}, "", "prefix 'module.backbone.' stripped"),
        (lambda state: {"student": {}, "teacher": prefixed(state, "backbone.")}, "&key=teacher", "its 'teacher'"),
        (lambda state: {"a": {"b": state}}, "&key=a.b", "its 'a.b'"),
        (
            lambda state: {**prefixed(state, "encoder_q."), **prefixed(state, "encoder_k.")},
            "&prefix=encoder_k.",
            "prefix 'encoder_k.' stripped",
        ),
        (
            lambda state: {
                "pytorch-lightning_version": "2.4.0",
                "state_dict": prefixed(state, "net."),
                "hyper_parameters": {"lr": 0.1},
                "optimizer_states": [{"state": {}, "param_groups": [{"lr": 0.1}]}],
            },
            "",
            "a Lightning checkpoint, its 'state_dict', torchvision's names, prefix 'net.' stripped",
        ),
    ],
)
@pytest.mark.parametrize("encoder", ["resnet18", "torchvision:resnet18", "timm:resnet18"])
def test_weights_compute_here_what_they_compute_there(model, state, load, capsys, encoder, wrap, options, said):
    if encoder.startswith("timm:"):
        pytest.importorskip("timm", reason="the extra timm is not installed")
        said = said.replace("torchvision's", "timm's")
    found = load(wrap(state), f"encoder={encoder}{options}")
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(found.encoder.maps(x, ["layer4"])["layer4"], layer4(model, x), rtol=1e-3, atol=1e-4)
    assert found.encoder.input.mean == pytest.approx(IMAGENET)
    report = capsys.readouterr().err
    assert f"100 of 100 tensors of the encoder '{encoder}' found" in report
    assert said in report
    assert "in the file only: " in report
    assert said.partition(")")[0] in found.notes["checkpoint"]


@pytest.mark.parametrize("length", [0, 1, 20, 150])
def test_a_file_that_ends_too_soon_is_refused(state, tmp_path, length):
    torch.save(state, tmp_path / "whole.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "cut.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:length])
    with pytest.raises(UserError, match="is not a readable weights file: it is empty or cut off"):
        load_descriptor(f"file:{tmp_path}/cut.pt?encoder=resnet18")


def test_a_name_that_two_prefixes_or_keys_fit_is_not_guessed(state, load):
    both = {**prefixed(state, "encoder_q."), **prefixed(state, "encoder_k.")}
    with pytest.raises(UserError, match=r"several prefixes: 'encoder_k.', 'encoder_q.'. Say which"):
        load(both, "encoder=resnet18")
    with pytest.raises(UserError, match=r"several state dicts: student, teacher. Say which with key=student"):
        load({"student": state, "teacher": state}, "encoder=resnet18")
    with pytest.raises(UserError, match=r"several state dicts: state_dict, model. Say which"):
        load({"state_dict": state, "model": state}, "encoder=resnet18")
    with pytest.raises(UserError, match=r"has no 'teecher' \(key=teecher\); it has student, teacher"):
        load({"student": state, "teacher": state}, "encoder=resnet18&key=teecher")


def test_what_does_not_match_is_told_and_refused_unless_partial(state, load, capsys):
    part = {key: value for key, value in state.items() if not key.startswith("layer4.1.")}
    part["bn1.weight"] = torch.ones(7)
    with pytest.raises(UserError, match=r"covers 89 of 100 tensors .* \(not 'stages.stem.1.weight', for one\)"):
        load(part, "encoder=resnet18")
    report = capsys.readouterr().err
    assert "missing: 10 (stages.layer4.1.conv1.weight, stages.layer4.1.bn1.weight, " in report
    assert "of another shape: 1 (stages.stem.1.weight is (7,), not (64,))" in report
    assert "in the file only: 2 (fc.weight, fc.bias)" in report
    first, again = (load(part, "encoder=resnet18&partial=true") for _ in range(2))
    assert first.identity == again.identity  # what is missing has the same initial weights every time
    assert torch.equal(first.encoder.state_dict()["stages.layer1.0.conv1.weight"], state["layer1.0.conv1.weight"])
    assert first.notes["checkpoint"].startswith("89 of 100 tensors")
    with pytest.raises(UserError, match="covers 0 of"):
        load({"something": torch.ones(1)}, "encoder=resnet18&partial=true")


def test_a_head_that_no_tap_depends_on_is_neither_needed_nor_part_of_the_identity(state, load):
    headless = {key: value for key, value in state.items() if not key.startswith("fc.")}
    whole = load({**headless, "fc.weight": torch.ones(1000, 512)}, "encoder=torchvision:resnet18")
    assert load(headless, "encoder=torchvision:resnet18").identity == whole.identity


def test_counters_of_batchnorm_are_not_needed(state, load):
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    assert "num_batches_tracked" in str(state.keys())
    assert load(old, "encoder=resnet18").notes["checkpoint"].startswith("100 of 100")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(state, load, value):
    broken = {**state, "layer2.0.bn1.bias": state["layer2.0.bn1.bias"] * 0 + value}
    with pytest.raises(UserError, match=r"the tensor stages.layer2.0.bn1.bias holds NaN or infinite values"):
        load(broken, "encoder=resnet18")


def test_a_lightning_checkpoint_with_classes_is_refused_with_what_to_do(state, load):
    contents = {"pytorch-lightning_version": "2", "state_dict": state, "hyper_parameters": SimpleNamespace(lr=1)}
    with pytest.raises(UserError) as refused:
        load(contents, "encoder=resnet18")
    assert "is a Lightning checkpoint that holds more than tensors (types.SimpleNamespace)" in str(refused.value)
    assert 'torch.save(torch.load(FILE, weights_only=False)["state_dict"], OTHER)' in str(refused.value)
    assert "\n" not in str(refused.value)


def test_our_files_say_what_the_encoder_is_fed(tmp_path, tiny_run):
    encoder: Any = build_encoder(EncoderConfig(name="vgg11", width=0.1), 32)
    save_encoder(encoder, tmp_path / "ours.safetensors")
    found = load_descriptor(f"file:{tmp_path}/ours.safetensors?encoder=vgg11&width=0.1")
    assert found.encoder.input == encoder.input
    plain = {key.replace("stages.conv1.0", "features.0"): value for key, value in encoder.state_dict().items()}
    safetensors.torch.save_file(plain, tmp_path / "plain.safetensors")
    reference = f"file:{tmp_path}/plain.safetensors?encoder=vgg11&width=0.1&size=32&partial=true&normalize=symmetric"
    assert load_descriptor(reference).encoder.input.mean == (0.5, 0.5, 0.5)
    with pytest.raises(UserError, match="'normalize' is 'other'"):
        load_descriptor(f"file:{tmp_path}/plain.safetensors?encoder=vgg11&width=0.1&size=32&normalize=other")
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    for name in ("encoder", "weights"):  # a run's own files; the second holds the decoder too
        of_file = load_descriptor(f"file:{tiny_run}/{name}.safetensors?encoder=dcgan&width=0.1&size=32")
        assert torch.equal(of_file.describe(images), load_descriptor(str(tiny_run)).describe(images))


def test_the_untrained_twin_of_a_file_is_like_it_in_all_but_the_weights(state, load, tmp_path, capsys):
    found = load(prefixed(state, "net."), "encoder=torchvision:resnet18&normalize=symmetric")
    capsys.readouterr()
    path = f"file:{tmp_path}/weights.pt"
    twin = load_descriptor(f"random:{path}?encoder=torchvision:resnet18&normalize=symmetric&size=64")
    assert capsys.readouterr().err == "", "what was found in the file is said once"
    assert twin.encoder.input == found.encoder.input
    assert (twin.needs_calibration, found.needs_calibration) == (True, False)
    initial = dict(load_descriptor("random:torchvision:resnet18").encoder.named_parameters())
    for name, value in twin.encoder.named_parameters():
        assert torch.equal(value, initial[name]), name
    assert twin.identity != found.identity
    with pytest.raises(UserError, match="covers 0 of"):
        load_descriptor(f"random:{path}?encoder=dcgan&size=64")


def test_a_file_is_judged_beside_its_untrained_twin(ce, tiny_run, photo_folder):
    subject = f"file:{tiny_run}/encoder.safetensors?encoder=dcgan&width=0.1"  # the file says its size
    answer = ce(f"evaluate knn '{subject}' --data {photo_folder} --size 32")
    assert answer.code == 0, answer.err
    from ssl_ce.records.store import RecordStore

    names = [record.subject.name for record in RecordStore(Path("results/local")).records()]
    assert names == [subject, "pixels", "hog", f"random:{subject}"]


def test_a_run_with_weights_that_are_not_finite_is_refused(tiny_run, tmp_path):
    for name in ("recipe.yaml", "weights.safetensors"):
        (tmp_path / name).write_bytes((tiny_run / name).read_bytes())
    state = safetensors.torch.load_file(tiny_run / "weights.safetensors")
    key = next(key for key in state if key.endswith("weight"))
    state[key].view(-1)[3] = float("nan")
    (tmp_path / "weights.safetensors").write_bytes(safetensors.torch.save(state))
    with pytest.raises(UserError, match=f"weights.safetensors: the tensor {key} holds NaN or infinite values"):
        load_run(tmp_path)


def test_records_carry_the_coverage(ce, state, photo_folder, tmp_path):
    from ssl_ce.records.store import RecordStore

    torch.save(state, tmp_path / "r.pt")
    for line in ("knn file:r.pt?encoder=resnet18&size=64", "nn-inpainting file:r.pt?encoder=resnet18&size=64"):
        holes = " --holes center" if "inpainting" in line else ""
        answer = ce(
            f"evaluate '{line.split()[0]}' '{line.split()[1]}' --data {photo_folder} --no-floors --size 64{holes}"
        )
        assert answer.code == 0, answer.err
    records = RecordStore(Path("results/local")).records()
    assert len(records) == 2
    assert all(record.notes["checkpoint"].startswith("100 of 100 tensors") for record in records)
