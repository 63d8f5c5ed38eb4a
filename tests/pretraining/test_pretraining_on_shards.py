"""Pretraining on shards, interrupted and resumed: the same bits as one that was not."""

from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ssl_ce.data import DataOptions, open_set
from ssl_ce.data.packing import epoch_order
from ssl_ce.data.shards_writing import write_shards
from ssl_ce.errors import MachineError, Stopped
from ssl_ce.methods.saved import WEIGHTS
from ssl_ce.pretraining.held_out import hold_out
from ssl_ce.pretraining.loop import Hooks, Progress, pretrain
from ssl_ce.pretraining.recipe import Recipe, load_recipe

STEPS = 14  # of 12 images: the second epoch of 96 has begun


def recipe(source: str) -> Recipe:
    settings = ("method.encoder.width=0.1", "method.decoder.width=0.1", f"optim.steps={STEPS}", "optim.epochs=null")
    more = ("optim.batch_size=12", "log.tensorboard=false", "log.online_every=0", "log.samples_every=0", "device=cpu")
    return load_recipe("quickstart", [*settings, *more, "data.held_out=4", f"data.source={source}"])


def stop_at(step: int) -> Hooks:
    def progress(state: Progress) -> None:
        if state.step == step:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGTERM)

    return Hooks(progress=progress)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    write_shards("digits?count=100", "train", folder, DataOptions(size=32), per_shard=8)
    return folder


def weights(run: Path) -> bytes:
    return (run / WEIGHTS).read_bytes()


def interrupted(source: str, run: Path) -> bytes:
    with pytest.raises(Stopped):
        pretrain(recipe(source), open_set(source, "train"), run, hooks=stop_at(9))
    return weights(pretrain(recipe(source), open_set(source, "train"), run, resume=True))


def test_a_resumed_run_on_shards_is_bit_identical_here_and_from_a_server(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = str(shards)
    whole = weights(pretrain(recipe(source), open_set(source, "train"), tmp_path / "whole"))
    assert interrupted(source, tmp_path / "parts") == whole

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=source))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        sizes = [path.stat().st_size for path in shards.glob("*.tar")]
        room = 8 * max(sizes)
        assert room < sum(sizes)
        monkeypatch.setenv("SSL_CE_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("SSL_CE_SHARD_CACHE", str(room))
        url = f"http://127.0.0.1:{server.server_address[1]}/digits-train.shards.json"
        assert interrupted(url, tmp_path / "served") == whole
        assert sum(path.stat().st_size for path in (tmp_path / "cache" / "shards").glob("*.tar")) <= room
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_shard_that_is_altered_in_the_middle_keeps_what_was_trained(shards: Path, tmp_path: Path) -> None:
    import shutil

    copied, run = Path(shutil.copytree(shards, tmp_path / "s")), tmp_path / "run"
    images = open_set(str(copied), "train")
    seed = recipe(str(copied)).seed
    looked_at = {int(row) // 8 for row in hold_out(images, 4, seed)[1].rows}  # type: ignore[union-attr]
    met = [row // 8 for row in epoch_order(images, seed, 0).tolist()]
    last = copied / f"digits-train-{[shard for shard in met if shard not in looked_at][-1]:06d}.tar"

    def progress(state: Progress) -> None:
        if state.step == 3:
            data = bytearray(last.read_bytes())
            data[len(data) // 2] ^= 1
            last.write_bytes(data)

    with pytest.raises(MachineError, match=r"was cut off or altered.*The checkpoint of step [3-7] is kept.*--resume"):
        pretrain(recipe(str(copied)), images, run, hooks=Hooks(progress=progress))
    shutil.copy(shards / last.name, last)
    resumed = pretrain(recipe(str(copied)), open_set(str(copied), "train"), run, resume=True)
    whole = pretrain(recipe(str(shards)), open_set(str(shards), "train"), tmp_path / "whole")
    assert weights(resumed) == weights(whole)


def test_a_shard_that_vanishes_keeps_what_was_trained(shards: Path, tmp_path: Path) -> None:
    import shutil

    copied = Path(shutil.copytree(shards, tmp_path / "s"))

    def progress(state: Progress) -> None:
        if state.step == 2:
            for path in copied.glob("*.tar"):
                path.rename(path.with_suffix(".away"))

    run = tmp_path / "run"
    with pytest.raises(MachineError, match=r"is not there any more.*is kept in .*--resume"):
        pretrain(recipe(str(copied)), open_set(str(copied), "train"), run, hooks=Hooks(progress=progress))
    for path in copied.glob("*.away"):
        path.rename(path.with_suffix(".tar"))
    resumed = pretrain(recipe(str(copied)), open_set(str(copied), "train"), run, resume=True)
    whole = pretrain(recipe(str(shards)), open_set(str(shards), "train"), tmp_path / "whole")
    assert weights(resumed) == weights(whole)
