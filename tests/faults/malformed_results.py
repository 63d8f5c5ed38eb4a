"""Malformed records, their outcomes, and cached features."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from fuzzing import Case, Kind
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from malformed_files import KNN, PICTURES, Malicious
from mutations import damaged, damaged_json


def result_kinds(seeds: Mapping[str, bytes]) -> Iterator[Kind]:
    """Kinds that are numbers which were computed before: `seeds` are whole ones."""
    yield _records(seeds)
    yield _outcomes(seeds)
    yield _features(seeds)


def _records(seeds: Mapping[str, bytes]) -> Kind:
    lines = seeds["records/records.jsonl"].splitlines()
    commands = (
        ["results", "show", "records"],
        ["results", "show", "records", "--format", "json"],
        ["results", "show", "records", "--format", "csv"],
        ["results", "show", "records", "--format", "md"],
        ["results", "show", "records", "--format", "latex"],
        ["results", "compare", "records"],
        ["results", "breakdown", "records"],
        ["results", "export", "records", "--format", "html", "-o", "out/table.html"],
        ["results", "diff", f"records:{json.loads(lines[0])['id']}", f"records:{json.loads(lines[1])['id']}"],
    )
    files = {name: content for name, content in seeds.items() if name.startswith("records/")}
    contents = st.one_of(*[_one_damaged(lines, number) for number in range(len(lines))])
    cases = st.tuples(st.sampled_from(commands), contents).map(
        lambda drawn: Case(drawn[0], {**files, "records/records.jsonl": drawn[1]})
    )
    return Kind("records", Case(["results", "compare", "records"], files), cases)


def _one_damaged(lines: Sequence[bytes], number: int) -> SearchStrategy[bytes]:
    def among(content: bytes) -> bytes:
        return b"\n".join([*lines[:number], content, *lines[number + 1 :], b""])

    record = json.loads(lines[number])
    return st.one_of(damaged_json(record).map(among), damaged(b"\n".join([*lines, b""])))


def _outcomes(seeds: Mapping[str, bytes]) -> Kind:
    names = [name for name in seeds if name.startswith("records/outcomes/")]
    files = {name: content for name, content in seeds.items() if name.startswith("records/")}
    commands = (["results", "compare", "records"], ["results", "breakdown", "records"])
    bomb = _zip_bomb()
    cases = st.sampled_from(names).flatmap(
        lambda name: st.tuples(
            st.sampled_from(commands), st.one_of(damaged(seeds[name]), _arrays(seeds[name]), st.just(bomb))
        ).map(lambda drawn: Case(drawn[0], {**files, name: drawn[1]}))
    )
    return Kind("outcomes", Case(commands[0], files), cases)


@st.composite
def _arrays(draw: DrawFn, whole: bytes) -> bytes:
    """Outcomes whose archive is whole, and whose arrays are not what they should be."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as archive, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as written:
        names = archive.namelist()
        wrong = draw(st.sampled_from(names))
        for name in names:
            content = archive.read(name)
            if name == wrong:
                content = draw(_array(content))
            written.writestr(
                draw(st.sampled_from((name, name, "../../beside/x.npy", "x"))) if name == wrong else name, content
            )
    return buffer.getvalue()


def _zip_bomb() -> bytes:
    """Outcomes of 400 kB that become 400 MB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("l1.npy", "psnr.npy", "correct.npy", "correct_k1.npy"):
            with archive.open(name, "w") as file:
                file.write(_header((12_500_000,)))
                for _ in range(100):
                    file.write(bytes(1_000_000))
    return buffer.getvalue()


def _array(whole: bytes) -> SearchStrategy[bytes]:
    """A .npy file that is damaged, or holds something else, or lies of its shape."""
    others = (
        np.zeros(0), np.zeros((2, 3)), np.zeros(()), np.full(4, np.nan), np.array(["a", "b"]), np.zeros(4, complex),
        np.array([1e308, -1e308, np.inf, 0]), np.zeros(4, np.int8), np.zeros(3, "M8[s]"), np.zeros(3, [("a", "f8")]),
        np.zeros(4, bool), np.array([Malicious()], dtype=object),
    )  # fmt: skip
    shapes = ((2**62,), (2**31, 2**31), (-1,), (10**30,), (0, 2**40), (50_000_000,), ("x",))
    return st.one_of(
        damaged(whole),
        st.sampled_from([_npy(array) for array in others]),
        st.sampled_from([_header(shape) + bytes(100) for shape in shapes]),
        st.just(_header("(" * 5000 + ")" * 5000)),
    )


def _npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def _header(shape: Any, kind: str = "<f8") -> bytes:
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text.encode()


def _features(seeds: Mapping[str, bytes]) -> Kind:
    packs = {name: seeds[name] for name in PICTURES}
    cached = [name for name in seeds if name.startswith("cache/features/")]
    command = [*KNN, "color-histogram"]
    whole = {name.removeprefix("cache/"): seeds[name] for name in cached}
    contents = st.sampled_from(cached).flatmap(
        lambda name: st.one_of(
            damaged(seeds[name]),
            _array(seeds[name]),
            st.sampled_from(
                [_header(shape, "<f4") + bytes(4096) for shape in ((8, 2), (7, 64), (8,), (16, 64), (8, 2**40))]
            ),
        ).map(lambda content: {**whole, name.removeprefix("cache/"): content})
    )
    return Kind(
        "cached features", Case(command, packs, whole), contents.map(lambda cached: Case(command, packs, cached))
    )
