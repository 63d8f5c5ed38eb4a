"""Malformed WebDataset shards: our own with their index, and somebody else's archives."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping

from fuzzing import Case, Kind
from hypothesis import strategies as st
from malformed_images import encode
from mutations import damaged, damaged_json

_OWN, _FOREIGN = "shards", "shards/x-test.tar"


def _commands(shards: str) -> tuple[list[str], ...]:
    judged = ["--test", shards, "--no-floors", "--size", "32", "--results", "out/results"]
    return (
        ["data", "info", shards, "--no-duplicates"],
        ["evaluate", "inpainting", "mean-color", *judged, "--holes", "center"],
        ["evaluate", "knn", "color-histogram", "--train", "train.pack", *judged, "--set", "neighbours=[1]",
         "--set", "headline=1"],
    )  # fmt: skip


def shard_kinds(seeds: Mapping[str, bytes]) -> Iterator[Kind]:
    """The kind that is archives: `seeds` are whole ones."""
    files = {name: content for name, content in seeds.items() if name.startswith("shards/")}
    index, members, archive = (next(n for n in files if n.endswith(end)) for end in (".json", ".npy", ".tar"))
    files["train.pack"] = seeds["train.pack"]
    own = st.one_of(
        damaged_json(json.loads(files[index])).map(lambda content: {**files, index: content}),
        damaged(files[members]).map(lambda content: {**files, members: content}),
        damaged(files[archive]).map(lambda content: {**files, archive: content}),
    )
    foreign = st.one_of(damaged(files[archive]), st.sampled_from(list(_archives()))).map(
        lambda content: {"train.pack": files["train.pack"], _FOREIGN: content}
    )
    cases = [
        st.tuples(st.sampled_from(_commands(shards)), damages).map(lambda drawn: Case(*drawn))
        for shards, damages in ((_OWN, own), (_FOREIGN, foreign))
    ]
    yield Kind("shards", Case(_commands(_OWN)[2], files), st.one_of(cases))


def _archives() -> Iterator[bytes]:
    """Archives whose members have names, kinds and lengths that nobody should believe."""
    picture = encode("png", "RGB")
    for name in (
        "../../beside/x.png",
        "/beside/x.png",
        "a/../../x.png",
        "\x1b[2J.png",
        "x" * 5000 + ".png",
        ".png",
        "a",
    ):
        yield _tar((name, picture), ("b.png", picture), ("b.cls", b"1"))
    for label in (b"", b"-1", b"9" * 5000, b"\xff", b"nan", b"1\n2", b"x" * 2_000_000):
        yield _tar(("a.png", picture), ("a.cls", label), ("b.png", picture), ("b.cls", b"0"))
    for text in (b"[" * 200_000, b"{", b'{"label": 1e999}', b"null"):
        yield _tar(("a.png", picture), ("a.json", text), ("b.png", picture), ("b.json", b'{"label": 1}'))
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
        yield _tar(("a.png", picture), kind=kind)
    yield _tar(("a.png", picture), ("a.png", picture))
    yield _tar(("a.png", b""), ("b.png", b"GIF89a"))
    whole = bytearray(_tar(("a.png", picture)))
    for size in (b"77777777777\0", b"\x80" + bytes(3) + b"\x7f" + bytes(7), b"-0000000001\0"):
        whole[124:136] = size
        field = sum(whole[:148]) + sum(whole[156:512]) + 8 * 32
        whole[148:156] = f"{field:06o}\0 ".encode()
        yield bytes(whole)


def _tar(*members: tuple[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size, member.type = len(content) if kind == tarfile.REGTYPE else 0, kind
            member.linkname = "../../beside/canary.txt"
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
