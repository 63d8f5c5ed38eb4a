"""Malformed runs, weights and packed sets."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import yaml
from fuzzing import Case, Kind
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from mutations import damaged, damaged_json, damaged_text, damaged_yaml

_PIXELS_AT = 4096
_HEAD = struct.Struct("<8sQQQ32s")
_FILE = "file:{}?encoder=dcgan&width=0.1&size=32"
PICTURES = ("a.png", "train.pack", "test.pack")
KNN = ["evaluate", "knn", "--train", "train.pack", "--test", "test.pack", "--no-floors", "--set", "neighbours=[1]",
        "--set", "headline=1", "--results", "out/results"]  # fmt: skip


class Malicious:
    """Unpickled, it would leave a file called `owned`."""

    def __reduce__(self) -> Any:
        return os.system, ("touch owned",)


def file_kinds(seeds: Mapping[str, bytes]) -> Iterator[Kind]:
    """Kinds that are files which `ce` reads back, or which somebody hands over: `seeds` are whole ones."""
    yield _runs(seeds)
    yield _weights(seeds)
    yield _packed(seeds)


def _runs(seeds: Mapping[str, bytes]) -> Kind:
    files = {f"out/{name}": content for name, content in seeds.items() if name.startswith("run/")}
    files |= {name: seeds[name] for name in PICTURES}
    on = ["pretrain", "--resume", "out/run"]
    # A run that is not done, so that it reads its checkpoint.
    manifest = {**json.loads(seeds["run/manifest.json"]), "done": False}
    files["out/run/manifest.json"] = json.dumps(manifest).encode()
    lines: dict[str, tuple[Sequence[str], ...]] = {
        "recipe.yaml": (["inpaint", "out/run", "a.png", "-o", "out/a.png"], on),
        "manifest.json": (on, ["results", "curves", "out/run", "-o", "out/curves.png"]),
        "checkpoint.pt": (on,),
        "weights.safetensors": (["inpaint", "out/run", "a.png", "-o", "out/a.png"],),
        "encoder.safetensors": (["export", "out/run", "--format", "safetensors", "-o", "out/e.safetensors"],
                                [*KNN, "out/run@conv2"]),
        "encoder-initial.safetensors": ([*KNN, "init:out/run@conv2"],),
        "log.csv": (["results", "curves", "out/run", "-o", "out/curves.png"], on),
    }  # fmt: skip
    how: dict[str, SearchStrategy[bytes]] = {
        "recipe.yaml": damaged_yaml(yaml.safe_load(seeds["run/recipe.yaml"])),
        "manifest.json": damaged_json(manifest),
        "checkpoint.pt": st.one_of(
            damaged(seeds["run/checkpoint.pt"]), _pickles(seeds["run/checkpoint.pt"]), st.sampled_from(_malicious())
        ),
        "log.csv": damaged_text(seeds["run/log.csv"].decode()),
    }
    cases = [
        (how[name] if name in how else _safetensors(seeds[f"run/{name}"])).flatmap(
            lambda content, name=name: st.sampled_from(lines[name]).map(
                lambda line: Case(line, {**files, f"out/run/{name}": content})
            )
        )
        for name in lines
    ]
    return Kind("run directories", Case(lines["recipe.yaml"][0], files), st.one_of(*cases))


def _weights(seeds: Mapping[str, bytes]) -> Kind:
    packs = {name: seeds[name] for name in PICTURES}
    encoder = seeds["run/encoder.safetensors"]
    state = _tensors(encoder)
    torch_file = saved({"state_dict": state, "epoch": 1})
    arrays = io.BytesIO()
    np.savez(arrays, **{name.replace(".", "_"): value.numpy() for name, value in state.items()})
    ways: dict[str, SearchStrategy[bytes]] = {
        "w.safetensors": _safetensors(encoder),
        "w.pt": st.one_of(damaged(torch_file), _pickles(torch_file), st.sampled_from(_malicious())),
        "w.npz": damaged(arrays.getvalue()) | st.just(arrays.getvalue()),
        "w.pth": st.sampled_from([saved(value) for value in _odd(state)]),
    }
    cases = [
        content.map(lambda content, name=name: Case([*KNN, _FILE.format(name)], {**packs, name: content}))
        for name, content in ways.items()
    ]
    return Kind("weights files", Case([*KNN, _FILE.format("w.pt")], {**packs, "w.pt": torch_file}), st.one_of(*cases))


def _packed(seeds: Mapping[str, bytes]) -> Kind:
    whole = seeds["train.pack"]
    test = seeds["test.pack"]
    lines = (
        ["data", "info", "x.pack"],
        ["evaluate", "knn", "color-histogram", "--train", "x.pack", "--test", "test.pack", "--no-floors", "--set",
         "neighbours=[1]", "--set", "headline=1", "--results", "out/r"],
        ["pretrain", "recipe.yaml", "--data", "x.pack", "--out", "out/run"],
    )  # fmt: skip
    contents = st.one_of(
        damaged(whole), damaged(whole[:_PIXELS_AT]).map(lambda head: head + whole[_PIXELS_AT:]), _lying(whole)
    )
    cases = st.tuples(st.sampled_from(lines), contents).map(
        lambda drawn: Case(drawn[0], {"x.pack": drawn[1], "test.pack": test, "recipe.yaml": seeds["recipe.yaml"]})
    )
    files = {"x.pack": whole, "test.pack": test, "recipe.yaml": seeds["recipe.yaml"]}
    return Kind("packed files", Case(lines[1], files), cases)


@st.composite
def _lying(draw: DrawFn, whole: bytes) -> bytes:
    """A packed file whose metadata lie, and whose checksum is right."""
    _, place, length, _, _ = _HEAD.unpack(whole[: _HEAD.size])
    metadata = json.loads(whole[place : place + length])
    body = whole[_PIXELS_AT:place]
    if draw(st.integers(0, 4)) == 0:
        targets = draw(st.lists(st.sampled_from((-1, 2**31, 2**63 - 1, 0, 1)), min_size=8, max_size=8))
        body, text = body[:-64] + struct.pack("<8q", *targets), whole[place : place + length]
    elif draw(st.booleans()):
        metadata[draw(st.sampled_from(("n", "size", "columns", "total", "unreadable_count")))] = draw(
            st.sampled_from((-1, 0, 1, 2**31, 2**62, 2**64, 10**30))
        )
        text = json.dumps(metadata).encode()
        if draw(st.booleans()) and abs(metadata["n"]) < 100 and 0 <= metadata["size"] < 100:
            columns = metadata.get("columns")
            body = bytes(
                max(0, metadata["n"] * (3 * metadata["size"] ** 2 + 8 * (1 if columns is None else columns)))
                % (1 << 20)
            )
    else:
        text = draw(damaged_json(metadata))
    hashed = hashlib.blake2b(body + text, digest_size=32).digest()
    place = _PIXELS_AT + len(body)
    return _HEAD.pack(b"SSLCEPK1", place, len(text), place + len(text), hashed).ljust(_PIXELS_AT, b"\0") + body + text


def _safetensors(whole: bytes) -> SearchStrategy[bytes]:
    """A safetensors file damaged anywhere, or with a header that lies."""
    length = struct.unpack("<Q", whole[:8])[0]
    header, body = json.loads(whole[8 : 8 + length]), whole[8 + length :]

    def with_header(text: bytes) -> bytes:
        return struct.pack("<Q", len(text)) + text + body

    lengths = [struct.pack("<Q", number) + whole[8:] for number in (0, 1, 2**31, 2**63, 2**64 - 1, len(whole))]
    return st.one_of(damaged(whole), damaged_json(header).map(with_header), st.sampled_from(lengths))


@st.composite
def _pickles(draw: DrawFn, whole: bytes) -> bytes:
    """What torch saved, with a damaged member in a whole archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as archive, zipfile.ZipFile(buffer, "w") as written:
        names = archive.namelist()
        wrong = (
            next(name for name in names if name.endswith("data.pkl"))
            if draw(st.booleans())
            else draw(st.sampled_from(names))
        )
        for name in names:
            written.writestr(name, draw(damaged(archive.read(name))) if name == wrong else archive.read(name))
    return buffer.getvalue()


def _malicious() -> list[bytes]:
    """Pickles that would run something, in every form that torch reads."""
    found = [pickle.dumps(Malicious(), protocol) for protocol in range(6)]
    found += [saved({"networks": Malicious()}), saved({"state_dict": {"a": Malicious()}}), saved([Malicious()])]
    legacy = io.BytesIO()
    torch.save({"state_dict": Malicious()}, legacy, _use_new_zipfile_serialization=False)
    return [*found, legacy.getvalue(), b"cos\nsystem\n(S'touch owned'\ntR.", b"\x80\x04" + b"(" * 100_000 + b"."]


def _odd(state: Mapping[str, Any]) -> Iterator[Any]:
    """What a weights file may hold instead of a state dict."""
    yield from (None, 3, [], {}, "x", [state], {"state_dict": None}, {"state_dict": {}}, {1: torch.zeros(1)})
    yield {"state_dict": {"model": {"state_dict": dict(state)}}, "model": dict(state)}
    yield {name: value.to(torch.complex64) for name, value in state.items()}
    yield {name: value.double() for name, value in state.items()}
    yield {name: torch.zeros(()).expand(value.shape) for name, value in state.items()}
    yield {name: torch.zeros(1).expand(10**6, 10**6) for name in state}
    yield {name: value.to_sparse() for name, value in state.items()}
    yield {
        name: torch.full_like(value, float("nan")) if value.is_floating_point() else value
        for name, value in state.items()
    }
    yield {name: value.to("meta") for name, value in state.items()}
    yield {name: value.to(torch.bool) for name, value in state.items()}
    yield {f"\x1b[2J{name}": value for name, value in state.items()}
    nested: Any = dict(state)
    for _ in range(400):
        nested = {"state_dict": nested}
    yield nested


def saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _tensors(content: bytes) -> dict[str, Any]:
    import safetensors.torch

    return dict(safetensors.torch.load(content))
