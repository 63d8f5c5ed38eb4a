from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ssl_ce.data import open_set, splits_of
from ssl_ce.data.options import DataOptions
from ssl_ce.data.packing import epoch_order
from ssl_ce.data.shards import WINDOW
from ssl_ce.errors import DataLostError, MachineError, UserError

INDEX = "digits-train.shards.json"
Serve = Callable[[Path], Any]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SSL_CE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("ssl_ce.data.shards_fetching._PAUSE", 0.01)
    return tmp_path / "cache" / "shards"


@pytest.fixture
def copied(digit_shards: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(digit_shards, tmp_path / "served"))


def room_for(shards: Path, count: int) -> str:
    """A limit that `count` of the train shards fit in."""
    return str(count * max(path.stat().st_size for path in shards.glob("digits-train-*.tar")))


def fetched(cache: Path) -> int:
    return len(list(cache.glob("*.tar")))


def settled(asked: list[str]) -> list[str]:
    """The shards that were asked for, once nobody asks any more."""
    before = -1
    while before != len(asked):
        before = len(asked)
        time.sleep(0.1)
    return [name for name in asked if name.endswith(".tar")]


def test_what_a_server_has_is_what_lies_here(digit_shards: Path, serve: Serve, own_cache: Path) -> None:
    server = serve(digit_shards)
    reference = f"{server.url}/{INDEX}"
    assert splits_of(reference) == ("train",)
    images, local = open_set(reference, "train"), open_set(str(digit_shards), "train")
    assert images.fingerprint == local.fingerprint
    assert fetched(own_cache) == 0
    assert torch.equal(images.read(range(100)), local.read(range(100)))
    assert len(settled(server.asked)) == 10
    assert torch.equal(open_set(reference, "train").read(range(100)), local.read(range(100)))
    assert len(settled(server.asked)) == 10


def test_archives_of_other_people_on_a_server(digit_shards: Path, serve: Serve) -> None:
    url = f"{serve(digit_shards).url}/digits-train-{{000000..000009}}.tar"
    images, local = open_set(url, "train", DataOptions(size=16)), open_set(str(digit_shards), "train")
    assert torch.equal(images.read(range(100)), local.read(range(100)))
    assert images.targets().tolist() == local.targets().tolist()


def test_the_cache_stays_below_its_limit_and_an_epoch_fetches_each_shard_once(
    digit_shards: Path, serve: Serve, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CE_SHARD_CACHE", room_for(digit_shards, 2 * WINDOW))
    server = serve(digit_shards)
    images, local = open_set(f"{server.url}/{INDEX}", "train"), open_set(str(digit_shards), "train")
    order = epoch_order(images, 0, 0)
    for batch in order.split(10):
        assert torch.equal(images.read(batch), local.read(batch))
        assert fetched(own_cache) <= 2 * WINDOW
    assert len(settled(server.asked)) == 10


def test_the_next_window_is_fetched_ahead(digit_shards: Path, serve: Serve) -> None:
    server = serve(digit_shards)
    images = open_set(f"{server.url}/{INDEX}", "train")
    order = epoch_order(images, 0, 0)
    images.read(order[:5])
    first_two = {f"digits-train-{number:06d}.tar" for number in (order[: 20 * WINDOW] // 10).tolist()}
    assert set(settled(server.asked)) >= first_two - {
        f"digits-train-{number:06d}.tar" for number in (order[: 10 * WINDOW] // 10).tolist()
    }


def test_a_cache_that_cannot_hold_what_is_read_at_a_time_is_refused(
    digit_shards: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{serve(digit_shards).url}/{INDEX}"
    monkeypatch.setenv("SSL_CE_SHARD_CACHE", "10KB")
    with pytest.raises(UserError, match=r"8 of these shards.*SSL_CE_SHARD_CACHE"):
        open_set(url, "train")
    monkeypatch.setenv("SSL_CE_SHARD_CACHE", "much")
    with pytest.raises(UserError, match="500MB or 2TB; 'much' is not"):
        open_set(url, "train")


def test_a_shard_that_changed_on_the_server_is_refused(copied: Path, serve: Serve) -> None:
    images = open_set(f"{serve(copied).url}/{INDEX}", "train")
    path = copied / "digits-train-000004.tar"
    data = bytearray(path.read_bytes())
    data[3000] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"000004.tar was cut off or altered"):
        images.read(range(100))
    path.write_bytes(data[:2000])
    with pytest.raises(UserError, match=r"000004.tar was cut off or altered"):
        images.read(range(100))


def test_a_shard_that_was_damaged_in_the_cache_is_fetched_again(
    digit_shards: Path, serve: Serve, own_cache: Path
) -> None:
    server = serve(digit_shards)
    whole = open_set(f"{server.url}/{INDEX}", "train").read(range(100))
    for path in own_cache.glob("*.tar"):
        path.write_bytes(path.read_bytes()[:700])
    assert torch.equal(open_set(f"{server.url}/{INDEX}", "train").read(range(100)), whole)
    assert len(settled(server.asked)) == 20


def test_what_vanishes_in_the_middle_is_told(copied: Path, serve: Serve) -> None:
    server = serve(copied)
    images = open_set(f"{server.url}/{INDEX}", "train")
    (copied / "digits-train-000007.tar").unlink()
    with pytest.raises(DataLostError, match=r"The server has no .*000007.tar: 404"):
        images.read(range(100))
    server.stop()
    with pytest.raises(DataLostError, match=r"000007.tar cannot be fetched"):
        images.read([75])


def test_what_is_not_there_from_the_start_is_the_users_to_mend(digit_shards: Path, serve: Serve) -> None:
    server = serve(digit_shards)
    with pytest.raises(UserError, match="404"):
        open_set(f"{server.url}/none.shards.json", "train")
    with pytest.raises(UserError, match="404"):
        open_set(f"{server.url}/none-{{0..2}}.tar", "train")
    url = server.url
    server.stop()
    with pytest.raises(MachineError, match="cannot be fetched"):
        open_set(f"{url}/{INDEX}", "train")


def test_a_transfer_that_breaks_off_is_tried_again(
    digit_shards: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ssl_ce.data import shards_fetching

    copy, failed = shards_fetching._copy, []

    def broken(answer: Any, path: Path, url: str, declared: int | None, most: int) -> None:
        if url.endswith(".tar") and url not in failed:
            failed.append(url)
            answer.read(100)  # the rest is short of them
        copy(answer, path, url, declared, most)

    monkeypatch.setattr(shards_fetching, "_copy", broken)
    images = open_set(f"{serve(digit_shards).url}/{INDEX}", "train")
    assert torch.equal(images.read(range(100)), open_set(str(digit_shards), "train").read(range(100)))
    assert len(failed) == 10
