import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from ssl_ce.data.packing import PackedImages
from ssl_ce.errors import MachineError, Stopped, UserError
from ssl_ce.methods.base import Batch
from ssl_ce.methods.saved import read_safetensors
from ssl_ce.pretraining.feed import Feed
from ssl_ce.pretraining.hooks import Hooks, Progress
from ssl_ce.pretraining.logs import read_log
from ssl_ce.pretraining.loop import pretrain
from ssl_ce.pretraining.recipe import Recipe, make_recipe
from ssl_ce.pretraining.run import RunDirectory
from ssl_ce.randomness import sample_order


def recipe_of(**optim: Any) -> Recipe:
    return make_recipe(
        {
            "method": {
                "name": "context-encoder",
                "size": 32,
                "encoder": {"name": "dcgan", "width": 0.1},
                "decoder": {"kind": "dcgan", "width": 0.1},
                "adversarial": {"weight": 0.01, "width": 0.1},
            },
            "data": {"source": "digits"},
            "optim": {"batch_size": 16, "steps": 12, "warmup_steps": 3, "clip_norm": 1.0, **optim},
            "log": {
                "every": 3,
                "checkpoint_every": 5,
                "samples_every": 0,
                "online_every": 4,
                "tensorboard": False,
            },
        },
        "the test's recipe",
    )


def log_without_speed(run: Path) -> list[dict[str, str]]:
    return [
        {key: value for key, value in row.items() if key != "images_per_second"} for row in read_log(run / "log.csv")
    ]


def interrupt_at(step: int, error: BaseException | None = None) -> Hooks:
    def progress(state: Progress) -> None:
        if state.step == step:
            if error is not None:
                raise error
            os.kill(os.getpid(), signal.SIGTERM)

    return Hooks(progress=progress, online=count_parameters)


def count_parameters(method: Any) -> dict[str, float]:
    """An online evaluation that looks at the weights, so that a difference in them would show in the log."""
    assert not method.networks["encoder"].training
    return {"online_knn": float(sum(p.double().sum() for p in method.networks["encoder"].parameters()))}


def test_a_run_leaves_everything_it_promises(digits_train: PackedImages, tmp_path: Path):
    drawn: list[Path] = []
    hooks = Hooks(online=count_parameters, draw=lambda path, images, holes, filled: drawn.append(path))
    recipe = recipe_of()
    recipe = recipe.model_copy(update={"log": recipe.log.model_copy(update={"samples_every": 6, "tensorboard": True})})
    run = pretrain(recipe, digits_train, tmp_path / "run", hooks=hooks)
    names = {path.name for path in run.iterdir()}
    assert {
        "recipe.yaml", "encoder.safetensors", "encoder-initial.safetensors", "weights.safetensors", "checkpoint.pt",
        "log.csv", "manifest.json", "tensorboard",
    } <= names  # fmt: skip
    assert not [name for name in names if name.endswith(".tmp")]
    assert [path.name for path in drawn] == ["step-0000006.png", "step-0000012.png"]
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["done"]
    assert manifest["images_seen"] == 12 * 16
    assert manifest["data"]["fingerprint"] == digits_train.fingerprint
    rows = read_log(run / "log.csv")
    assert {
        "epoch",
        "generator_loss",
        "discriminator_loss",
        "lr_generator",
        "lr_discriminator",
        "images_per_second",
        "online_knn",
    } < set(rows[0])
    assert RunDirectory(run).recipe() == recipe
    trained, initial = (
        read_safetensors(run / "encoder.safetensors"),
        read_safetensors(run / "encoder-initial.safetensors"),
    )
    assert trained.keys() == initial.keys()
    assert any(not torch.equal(trained[key], initial[key]) for key in trained)


@pytest.mark.parametrize("error", [None, RuntimeError("killed")], ids=["SIGTERM", "killed"])
def test_an_interrupted_run_resumes_bit_for_bit(
    digits_train: PackedImages, tmp_path: Path, error: BaseException | None
):
    whole = pretrain(recipe_of(), digits_train, tmp_path / "whole", hooks=Hooks(online=count_parameters))
    with pytest.raises(Stopped if error is None else RuntimeError):
        pretrain(recipe_of(), digits_train, tmp_path / "parts", hooks=interrupt_at(8, error))
    parts = pretrain(recipe_of(), digits_train, tmp_path / "parts", resume=True, hooks=Hooks(online=count_parameters))
    ours, theirs = (
        read_safetensors(whole / "weights.safetensors"),
        read_safetensors(parts / "weights.safetensors"),
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert log_without_speed(whole) == log_without_speed(parts)


def test_stopping_says_what_was_saved_and_how_to_go_on(digits_train: PackedImages, tmp_path: Path):
    with pytest.raises(Stopped, match=r"SIGTERM at step 7 of 12, after saving.*--resume") as caught:
        pretrain(recipe_of(), digits_train, tmp_path / "run", hooks=interrupt_at(7))
    assert caught.value.exit_code == 75
    state = RunDirectory(tmp_path / "run").load()
    assert state is not None
    assert state["step"] == 7


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(digits_train: PackedImages, tmp_path: Path):
    with pytest.raises(MachineError, match=r"not finite.*checkpoint of step 5 is kept") as caught:
        pretrain(recipe_of(), digits_train, tmp_path / "run", hooks=_poison_after(5))
    assert caught.value.exit_code == 1
    assert all(
        torch.isfinite(value).all() for value in read_safetensors(tmp_path / "run" / "weights.safetensors").values()
    )


def _poison_after(step: int) -> Hooks:
    """Make a weight NaN after `step`, as a diverging update would."""
    methods: list[Any] = []

    def online(method: Any) -> dict[str, float]:
        methods.append(method)
        return {}

    def progress(state: Progress) -> None:
        if state.step == step + 1:
            next(methods[0].encoder.parameters()).data.fill_(float("nan"))

    return Hooks(progress=progress, online=online)


def test_a_run_directory_that_holds_something_is_refused_and_left_alone(digits_train: PackedImages, tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        pretrain(recipe_of(), digits_train, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["notes.txt"]


def test_resuming_on_other_images_is_refused(digits_train: PackedImages, digits_test: PackedImages, tmp_path: Path):
    with pytest.raises(Stopped):
        pretrain(recipe_of(), digits_train, tmp_path / "run", hooks=interrupt_at(6))
    with pytest.raises(UserError, match="not those that"):
        pretrain(recipe_of(), digits_test, tmp_path / "run", resume=True)


def test_images_smaller_than_the_recipe_are_refused_before_anything_is_written(
    digits_train: PackedImages, tmp_path: Path
):
    recipe = recipe_of()
    large = make_recipe({**recipe.model_dump(mode="json"), "method": {**recipe.method, "size": 64}}, "x")
    with pytest.raises(UserError, match="trains on 64 x 64"):
        pretrain(large, digits_train, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_malicious_checkpoint_is_not_run(digits_train: PackedImages, tmp_path: Path):
    class Evil:
        def __reduce__(self) -> Any:
            return (os.system, (f"touch {tmp_path / 'owned'}",))

    with pytest.raises(Stopped):
        pretrain(recipe_of(), digits_train, tmp_path / "run", hooks=interrupt_at(6))
    torch.save({"networks": Evil()}, tmp_path / "run" / "checkpoint.pt")
    with pytest.raises(UserError, match="not a checkpoint"):
        pretrain(recipe_of(), digits_train, tmp_path / "run", resume=True)
    assert not (tmp_path / "owned").exists()


def test_a_full_disk_says_so_and_leaves_the_checkpoint_before(
    digits_train: PackedImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    def progress(state: Progress) -> None:
        if state.step == 6:
            monkeypatch.setattr(torch, "save", full)

    with pytest.raises(MachineError, match="disk is full"):
        pretrain(recipe_of(), digits_train, tmp_path / "run", hooks=Hooks(progress=progress))
    monkeypatch.undo()
    state = RunDirectory(tmp_path / "run").load()
    assert state is not None
    assert state["step"] == 5
    assert not list((tmp_path / "run").glob("*.tmp"))


def test_batches_are_a_function_of_the_step(digits_train: PackedImages):
    def collect(first: int, last: int) -> list[Batch]:
        feed = Feed(digits_train, size=28, batch_size=100, flip=True, seed=3, device=torch.device("cpu"))
        return list(feed.batches(first, last))

    whole, parts = collect(0, 30), [*collect(0, 11), *collect(11, 30)]
    assert len(whole) == 30
    for ours, theirs in zip(whole, parts, strict=True):
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.indices, theirs.indices)
    steps = len(digits_train) // 100
    for epoch in range(30 // steps):
        seen = torch.cat([batch.indices for batch in whole[epoch * steps : (epoch + 1) * steps]])
        assert torch.equal(seen, sample_order(3, epoch, len(digits_train))[: steps * 100])
