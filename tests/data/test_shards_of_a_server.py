from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from ssl_ce.data import open_set, splits_of
from ssl_ce.data.options import DataOptions
from ssl_ce.data.packing import enter_epoch, epoch_order, is_decoded
from ssl_ce.data.shards import WINDOW
from ssl_ce.data.shards_fetching import WrongShardError
from ssl_ce.data.shards_fetching import fetched as place_of
from ssl_ce.data.shards_writing import write_shards
from ssl_ce.errors import DataLostError, MachineError, UserError
from ssl_ce.locks import in_turn
from ssl_ce.pretraining.feed import Feed

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


def wait_for(condition: Callable[[], bool]) -> None:
    """Until `condition` holds; not for ever."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def shards_asked(asked: list[str]) -> list[str]:
    """The shards that were asked for, in order."""
    return [name for name in list(asked) if name.endswith(".tar")]


def ahead_is_done() -> bool:
    """Whether nothing is being fetched ahead."""
    return not any(thread.name == "shards" for thread in threading.enumerate())


def settled(asked: list[str]) -> list[str]:
    """The shards that were asked for, once nothing is fetched ahead any more."""
    wait_for(ahead_is_done)
    return shards_asked(asked)


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
    enter_epoch(images, 0, 0)
    for batch in order.split(10):
        assert torch.equal(images.read(batch), local.read(batch))
        assert fetched(own_cache) <= 2 * WINDOW
    assert len(settled(server.asked)) == 10


def test_the_next_window_is_fetched_ahead(digit_shards: Path, serve: Serve) -> None:
    server = serve(digit_shards)
    images = open_set(f"{server.url}/{INDEX}", "train")
    order = epoch_order(images, 0, 0)
    enter_epoch(images, 0, 0)
    images.read(order[:5])
    first, second = ({f"digits-train-{n:06d}.tar" for n in row.tolist()} for row in (order[:80] // 10).split(40))
    wait_for(lambda: second <= set(shards_asked(server.asked)))
    assert set(settled(server.asked)) <= first | second


def test_each_epoch_of_a_feed_fetches_ahead_along_its_own_order(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = tmp_path / "shards"
    write_shards("digits?count=96", "train", shards, DataOptions(size=16), per_shard=4)
    monkeypatch.setenv("SSL_CE_SHARD_CACHE", room_for(shards, 2 * WINDOW))
    server = serve(shards)
    images = open_set(f"{server.url}/{INDEX}", "train")
    part = images.subset(range(96), "train")  # as where images are held out
    feed = Feed(part, size=16, batch_size=4, flip=False, seed=3, device=torch.device("cpu"))
    orders = [(epoch_order(images, 3, epoch) // 4).reshape(-1, 4 * WINDOW) for epoch in (0, 1)]
    windows = [[{f"digits-train-{n:06d}.tar" for n in row.tolist()} for row in order] for order in orders]
    for step, _ in enumerate(feed.batches(0, 48)):
        epoch, place = divmod(step, 24)
        if place % WINDOW == 0 and place < 20:  # the batch that is read meanwhile is of this window too
            following = [place_of(f"{server.url}/{name}") for name in windows[epoch][place // WINDOW + 1]]
            wait_for(lambda files=following: all(map(Path.exists, files)))  # type: ignore[misc]
    asked = settled(server.asked)
    assert set(asked[:8]) == windows[0][0] | windows[0][1]
    assert [set(asked[start : start + 4]) for start in range(8, 24, 4)] == windows[0][2:]
    assert len(asked[24:]) == len(set(asked[24:]))
    assert set(asked[24:]) >= set().union(*windows[1]) - windows[0][-2] - windows[0][-1]


def test_a_feed_on_a_gpu_does_not_decode_all_shards_before_it_begins(digit_shards: Path) -> None:
    images = open_set(str(digit_shards), "train")
    for part in (images, images.subset(range(50), "train")):
        feed = Feed(part, size=16, batch_size=4, flip=False, seed=3, device=torch.device("cuda"))
        assert feed._resident is None
    assert not is_decoded(images.subset(range(50), "train"))
    packed = open_set("digits?count=100", "train", DataOptions(size=16))
    assert is_decoded(packed.subset(range(50), "train"))


def test_readers_side_by_side_fetch_each_shard_once(digit_shards: Path, serve: Serve, own_cache: Path) -> None:
    server = serve(digit_shards)
    local = open_set(str(digit_shards), "train").read(range(100))
    url = f"{server.url}/{INDEX}"
    readers = [open_set(url, "train", DataOptions(workers=2)) for _ in range(4)]  # they share files and nothing else
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda images: images.read(range(100)), readers):
            assert torch.equal(found, local)
    assert len(settled(server.asked)) == 10
    assert sorted(path.suffix for path in own_cache.iterdir() if path.suffix != ".tar") == [".json", ".npy"]


def test_readers_side_by_side_stay_below_the_limit_together(
    digit_shards: Path, serve: Serve, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = int(room_for(digit_shards, 2 * WINDOW))
    monkeypatch.setenv("SSL_CE_SHARD_CACHE", str(limit))
    server = serve(digit_shards)
    readers = [open_set(f"{server.url}/{INDEX}", "train", DataOptions(workers=1)) for _ in range(3)]
    most: list[int] = []

    def read(number: int) -> None:
        enter_epoch(readers[number], number, 0)
        for batch in epoch_order(readers[number], number, 0).split(10):
            readers[number].read(batch)
            sizes = []
            with in_turn(own_cache / ".room"):  # nothing is thrown out while it is looked at
                for path in (*own_cache.glob("*.tar"), *own_cache.glob(".*.tar.*")):
                    with suppress(FileNotFoundError):
                        sizes.append(path.stat().st_size)
            most.append(sum(sizes))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(read, range(3)))
    assert limit // 2 < max(most) <= limit, (limit, sorted(most)[-5:])


def test_room_is_made_before_somebody_elses_shard_comes(
    digit_shards: Path, serve: Serve, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CE_SHARD_CACHE", room_for(digit_shards, 2))
    from ssl_ce.data import shards_fetching

    copy, there = shards_fetching._copy, []

    def watched(*arguments: Any) -> None:
        there.append(fetched(own_cache))
        copy(*arguments)

    monkeypatch.setattr(shards_fetching, "_copy", watched)
    with pytest.raises(UserError, match="are read at a time"):
        open_set(f"{serve(digit_shards).url}/digits-train-{{000000..000004}}.tar", "train", DataOptions(size=16))
    assert there == [0, 1, 1, 1, 1]


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
    with pytest.raises(WrongShardError, match=r"000004.tar was cut off or altered"):
        images.read(range(100))
    path.write_bytes(data[:2000])
    with pytest.raises(WrongShardError, match=r"000004.tar was cut off or altered"):
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

    def broken(answer: Any, path: Path, url: str, *more: Any) -> None:
        if url.endswith(".tar") and url not in failed:
            failed.append(url)
            answer.read(100)  # the rest is short of them
        copy(answer, path, url, *more)

    monkeypatch.setattr(shards_fetching, "_copy", broken)
    images = open_set(f"{serve(digit_shards).url}/{INDEX}", "train")
    assert torch.equal(images.read(range(100)), open_set(str(digit_shards), "train").read(range(100)))
    assert len(failed) == 10
