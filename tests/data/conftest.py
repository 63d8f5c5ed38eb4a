"""Shards of digits, and a server of files on this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ssl_ce.data import DataOptions
from ssl_ce.data.shards_writing import write_shards


@pytest.fixture(scope="session")
def digit_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 train digits of 16 x 16 in ten shards of ten, and 40 test digits in one. Not to be changed."""
    folder = tmp_path_factory.mktemp("shards")
    write_shards("digits?count=100", "train", folder, DataOptions(size=16), per_shard=10)
    write_shards("digits?count=40", "test", folder, DataOptions(size=16))
    return folder


class Server:
    """`url`, and the names that were asked for, in order."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path[1:])
                super().do_GET()

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[[Path], Server]]:
    """`serve(folder)`: its files at `.url`."""
    servers: list[Server] = []

    def start(folder: Path) -> Server:
        servers.append(Server(folder))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
