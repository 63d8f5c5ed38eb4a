"""Trainings that diverge or find too little memory: what they say, what they keep, and how they go on."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from ssl_ce.data.packing import PackedImages
from ssl_ce.errors import MachineError, MemoryFullError, UserError
from ssl_ce.methods.context_encoder import ContextEncoder
from ssl_ce.methods.saved import read_safetensors
from ssl_ce.pretraining import auto_batch
from ssl_ce.pretraining.auto_batch import fits, largest_batch
from ssl_ce.pretraining.hooks import Hooks, Progress
from ssl_ce.pretraining.logs import read_log
from ssl_ce.pretraining.loop import pretrain
from ssl_ce.pretraining.recipe import Recipe, load_recipe
from ssl_ce.pretraining.run import RunDirectory

NO_MEMORY = [
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("could not create a memory object"),
]


def recipe_of(*settings: str) -> Recipe:
    small = (
        "method.encoder.width=0.1", "method.decoder.width=0.1", "method.adversarial.width=0.1", "data.source=digits",
        "optim.batch_size=16", "optim.steps=10", "optim.epochs=null", "optim.schedule=constant",
        "log.checkpoint_every=5", "log.every=1", "log.tensorboard=false",
    )  # fmt: skip
    return load_recipe("quickstart-adversarial", [*small, *settings])


def fail_at(step: int, error: BaseException) -> Hooks:
    def progress(state: Progress) -> None:
        if state.step == step:
            raise error

    return Hooks(progress=progress)


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return read_safetensors(run / "weights.safetensors")


@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_a_player_that_diverges_leaves_a_checkpoint_that_goes_on_with_a_smaller_rate(
    digits_train: PackedImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, player: str
):
    losses, seen = ContextEncoder.loss, 0

    def diverging(self: Any, moved: str, outputs: Any) -> Any:
        nonlocal seen
        loss, logs = losses(self, moved, outputs)
        seen += moved == player
        return (loss * float("inf") if moved == player and seen > 7 else loss), logs

    monkeypatch.setattr(ContextEncoder, "loss", diverging)
    run = tmp_path / "run"
    said = (
        rf"At step 8, {player}_loss is not finite: the training diverged\. The checkpoint of step 5 is kept in .*run\. "
        rf"Go on from it: ce pretrain --resume .*run with a smaller rate \(--set optim\.lr=0\.0001\)"
    )
    with pytest.raises(MachineError, match=said):
        pretrain(recipe_of(), digits_train, run)
    assert RunDirectory(run).load()["step"] == 5  # type: ignore[index]
    monkeypatch.undo()
    slower = recipe_of("optim.lr=1e-4", "optim.players={discriminator: {lr: 2.0e-5}}")
    pretrain(slower, digits_train, run, resume=True)
    assert all(bool(torch.isfinite(value).all()) for value in weights_of(run).values())
    rows = {int(row["step"]): row for row in read_log(run / "log.csv") if row["lr_generator"]}
    factor = 6 / 50  # of the warm-up
    assert float(rows[6]["lr_generator"]) == pytest.approx(factor * 1e-4)
    assert float(rows[6]["lr_discriminator"]) == pytest.approx(factor * 2e-5)
    changes = json.loads((run / "manifest.json").read_text())["changes"]
    assert changes == [
        {
            "step": 5,
            "optim.lr": [0.001, 0.0001],
            "optim.players": [{"discriminator": {"lr": 2e-4}}, {"discriminator": {"lr": 2e-5}}],
        }
    ]
    assert RunDirectory(run).recipe().optim == slower.optim


def test_the_command_that_the_message_names_goes_on(ce, tmp_path: Path, digits_train: PackedImages):
    with pytest.raises(KeyError):
        pretrain(recipe_of(), digits_train, tmp_path / "run", hooks=fail_at(7, KeyError()))
    refused = ce("pretrain --resume run --set optim.lr=1e-4 --set optim.batch_size=8")
    assert (refused.code, "its own settings and data, but for optim.lr" in refused.err) == (2, True)
    answer = ce("pretrain --resume run --set optim.lr=1e-4 --set optim.clip_norm=1")
    assert answer.code == 0, answer.err
    changes = RunDirectory(tmp_path / "run").manifest()["changes"]
    assert changes == [{"step": 5, "optim.lr": [0.001, 0.0001], "optim.clip_norm": [None, 1.0]}]


def test_what_is_seen_late_is_seen_before_it_is_saved(
    digits_train: PackedImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A GPU is asked for its losses now and then: an infinite one without gradients leaves the weights finite."""
    losses = ContextEncoder.loss
    monkeypatch.setattr(
        ContextEncoder, "loss", lambda *given: (losses(*given)[0], {"adversarial": torch.tensor(float("inf"))})
    )
    monkeypatch.setattr("ssl_ce.pretraining.loop._Training._refuse_non_finite", lambda *_: None)
    with pytest.raises(MachineError, match=r"At step 5, a loss was not finite.*Nothing was saved yet.*Start anew"):
        pretrain(recipe_of("log.every=100"), digits_train, tmp_path / "run")
    assert not RunDirectory(tmp_path / "run").saved()


@pytest.mark.parametrize("error", NO_MEMORY, ids=lambda error: type(error).__name__)
def test_too_little_memory_says_what_to_take_less_of_and_what_is_kept(
    digits_train: PackedImages, tmp_path: Path, error: BaseException
):
    with pytest.raises(MemoryFullError) as caught:
        pretrain(recipe_of(), digits_train, tmp_path / "run", hooks=fail_at(7, error))
    assert caught.value.exit_code == 1
    assert re.fullmatch(
        r"The memory is full at step 7 of 10, with 16 images a step\. The checkpoint of step 5 is kept in .*run\. "
        r"Start anew in another folder with --set optim\.batch_size=8, --auto-batch, --precision bf16 or a smaller "
        r"network\.",
        str(caught.value),
    )
    assert RunDirectory(tmp_path / "run").load()["step"] == 5  # type: ignore[index]


def test_another_error_is_not_taken_for_one_of_memory(digits_train: PackedImages, tmp_path: Path):
    with pytest.raises(RuntimeError, match="shapes differ"):
        pretrain(recipe_of(), digits_train, tmp_path / "run", hooks=fail_at(2, RuntimeError("shapes differ")))


@pytest.fixture
def room_for(monkeypatch: pytest.MonkeyPatch):
    """`room_for(n)`: an allocator that has room for `n` images a step. Answers with the batches that were tried."""

    def arrange(most: int) -> list[int]:
        tried: list[int] = []

        def try_it(recipe: Recipe, *_: Any) -> bool:
            tried.append(recipe.optim.batch_size)
            return recipe.optim.batch_size <= most

        monkeypatch.setattr(auto_batch, "fits", try_it)
        return tried

    return arrange


def test_the_batch_is_halved_until_it_fits_and_nothing_else_changes(digits_train: PackedImages, room_for):
    tried = room_for(50)
    recipe = recipe_of("optim.batch_size=200")
    assert largest_batch(recipe, digits_train) == recipe.with_batch(50)
    assert tried == [200, 100, 50]


def test_a_batch_larger_than_the_set_is_halved_from_what_there_is(digits_train: PackedImages, room_for):
    tried = room_for(500)
    recipe = largest_batch(recipe_of("optim.batch_size=5000", "data.held_out=97"), digits_train)
    assert (recipe.optim.batch_size, tried) == (300, [5000, 600, 300])


def test_where_nothing_fits_it_says_so(digits_train: PackedImages, room_for):
    tried = room_for(1)
    with pytest.raises(MemoryFullError, match="Not even a batch of 2 fits"):
        largest_batch(recipe_of(), digits_train)
    assert tried == [16, 8, 4, 2]


def test_the_recipe_says_which_batch_was_found_and_the_run_is_that_of_this_batch(ce, room_for, tmp_path: Path):
    room_for(8)
    line = "pretrain quickstart --data digits --steps 3 --set method.encoder.width=0.1 --set method.decoder.width=0.1"
    answer = ce(f"{line} --auto-batch --out found")
    assert answer.code == 0, answer.err
    found = "32 are too many; optim.batch_size is 8 in the run's recipe, optim.lr stays 0.001; optim.steps stays 3"
    assert found in answer.err
    assert ce(f"{line} --batch-size 8 --out given").code == 0
    assert RunDirectory(tmp_path / "found").recipe() == RunDirectory(tmp_path / "given").recipe()
    ours, theirs = weights_of(tmp_path / "found"), weights_of(tmp_path / "given")
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert "found is finished" in ce(f"{line} --auto-batch --resume found").out


@pytest.mark.slow
def test_trials_in_real_processes_find_what_fits_a_bound(digits_train: PackedImages):
    recipe = recipe_of("optim.batch_size=1024", "method.encoder.width=0.5", "method.decoder.width=0.5")
    assert not fits(recipe, digits_train, memory=100 << 20)
    assert fits(recipe.with_batch(8), digits_train, memory=100 << 20)


@pytest.mark.slow
def test_a_trial_that_fails_for_another_reason_is_no_answer(digits_train: PackedImages):
    with pytest.raises(UserError, match=r"optim\.players names 'painter'"):
        fits(recipe_of("optim.players={painter: {lr: 1}}"), digits_train)
