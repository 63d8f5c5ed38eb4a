"""Ways to damage bytes, text and trees of settings, as hypothesis strategies."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from typing import Any

import yaml
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
_HEAD = 200

WORDS = (
    "", " ", "0", "-1", "1e400", "nan", ".nan", "-.inf", "null", "~", "true", "[]", "{}", "[", "{", "}", "]", ":",
    "- ", "?", "!", "!!python/object/apply:os.system ['touch owned']", "!!python/name:os.system", "!!binary aGk=",
    "!!set {a}", "!!int x", "!!float x", "!!timestamp x", "!!bool x", "2001-99-99", "2001-12-14t21:59:43.10-05:00",
    "&a [*a]", "*a", "<<: 1", "<<: {a: 1}", "1:60:60", "0x", "0b2", "0o9", "1_0", "\x00", "\x1b[2J", "\u202e",
    "\ud7ff", "é", "\n", "\t", "a\nb", "../../beside/canary.txt", "/", "~root", "%", "%00", "{", "{run}", "{{", "@",
    "?", "&", "=", "://", "'", '"', "\\", "`", "$(touch owned)", "; touch owned", "x" * 3000, "9" * 5000, "[" * 3000,
    "{a: " * 1500, "\u0301" * 50,
)  # fmt: skip

VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 255, 256, -(2**31), 2**31, 2**63, 2**64, 10**30, 0.5, -0.0, 1e-320, 1e308, math.inf,
    -math.inf, math.nan, [], {}, [[]], {"": ""}, {"a": {"b": []}}, [None], [1, "a"], *WORDS,
)  # fmt: skip
"""What stands where something else is expected. Numbers between are left out: a large one may be meant."""


@st.composite
def damaged(draw: DrawFn, whole: bytes, most: int = 4) -> bytes:
    """`whole` with one to `most` wounds: cut, bits flipped, runs overwritten, inserted, removed, numbers that lie."""
    data = bytearray(whole)
    for _ in range(draw(st.sampled_from((1, 1, 1, *range(2, most + 1))))):
        end = max(0, len(data) - 1)
        place = draw(st.integers(0, min(end, _HEAD)) | st.integers(0, end))
        length = draw(st.integers(1, 64))
        wound = draw(st.sampled_from(("cut", "flip", "fill", "insert", "remove", "repeat", "number", "swap")))
        if wound == "cut":
            del data[place:]
        elif wound == "flip" and data:
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif wound == "fill":
            data[place : place + length] = bytes([draw(st.sampled_from((0, 0x20, 0x7F, 0xFF)))]) * length
        elif wound == "insert":
            data[place:place] = draw(st.binary(min_size=1, max_size=16))
        elif wound == "remove":
            del data[place : place + length]
        elif wound == "repeat":
            data[place:place] = bytes(data[place : place + length]) * draw(st.integers(1, 40))
        elif wound == "number":
            width, order = draw(st.sampled_from((1, 2, 4, 8))), draw(st.sampled_from(("little", "big")))
            number = draw(st.sampled_from(_NUMBERS)) & ((1 << 8 * width) - 1)
            data[place : place + width] = number.to_bytes(width, order)  # type: ignore[arg-type]
        elif wound == "swap":
            data[place : place + 2 * length] = data[place + length : place + 2 * length] + data[place : place + length]
    return bytes(data)


@st.composite
def damaged_text(draw: DrawFn, whole: str) -> bytes:
    """`whole` with hostile words in it, or damaged as bytes."""
    if draw(st.integers(0, 3)) == 0:
        return draw(damaged(whole.encode()))
    text = whole
    for _ in range(draw(st.integers(1, 3))):
        place, word = draw(st.integers(0, len(text))), draw(st.sampled_from(WORDS))
        text = text[:place] + word + text[place + draw(st.sampled_from((0, 0, 1, 5))) :]
    return text.encode("utf-8", "surrogatepass")


@st.composite
def damaged_tree(draw: DrawFn, whole: Any, most: int = 3) -> Any:
    """A tree of dictionaries and lists with values replaced, removed, moved, wrapped or added, and keys renamed."""
    tree = copy.deepcopy(whole)
    for _ in range(draw(st.sampled_from((1, 1, 1, *range(2, most + 1))))):
        places = list(_places(tree))
        if not places:
            return draw(st.sampled_from(VALUES))
        holder, key = places[draw(st.integers(0, len(places) - 1))]
        wound = draw(st.sampled_from(("replace", "replace", "replace", "remove", "wrap", "copy", "rename", "add")))
        if wound == "replace":
            holder[key] = copy.deepcopy(draw(st.sampled_from(VALUES)))
        elif wound == "remove":
            del holder[key]
        elif wound == "wrap":
            value = holder[key]
            for _ in range(draw(st.sampled_from((1, 2, 60)))):
                value = (draw(st.sampled_from((0, 1))) and [value]) or {"a": value}
            holder[key] = value
        elif wound == "copy":
            other, name = places[draw(st.integers(0, len(places) - 1))]
            holder[key] = copy.deepcopy(other[name])
        elif isinstance(holder, dict):
            name = draw(st.sampled_from((*WORDS, 1, None, True)))
            holder[name] = holder.pop(key) if wound == "rename" else draw(st.sampled_from(VALUES))
    return tree


def damaged_yaml(whole: Any) -> SearchStrategy[bytes]:
    """Settings damaged as a tree or as text, or one of `YAML_BOMBS` in their place."""
    text = yaml.safe_dump(whole, sort_keys=False)
    trees = damaged_tree(whole).map(lambda tree: yaml.safe_dump(tree, sort_keys=False, allow_unicode=True).encode())
    return st.one_of(trees, trees, damaged_text(text), st.sampled_from([text.encode() + bomb for bomb in YAML_BOMBS]))


def damaged_json(whole: Any) -> SearchStrategy[bytes]:
    """A JSON document damaged as a tree or as text, or one of `JSON_BOMBS`."""
    trees = damaged_tree(whole).map(lambda tree: json.dumps(_json(tree)).encode())
    return st.one_of(trees, trees, damaged_text(json.dumps(whole)), st.sampled_from(JSON_BOMBS))


def _laughs(open_: str, close: str, merge: bool) -> bytes:
    lines = [f"\nzz0: &l0 {open_}a: b{close}" if merge else "\nzz0: &l0 [x, x]"]
    for level in range(1, 30):
        inside = ", ".join([f"*l{level - 1}"] * 10)
        lines.append(f"zz{level}: &l{level} " + (f"{{<<: [{inside}]}}" if merge else f"[{inside}]"))
    return "\n".join(lines).encode()


YAML_BOMBS = (
    _laughs("{", "}", merge=False),
    _laughs("{", "}", merge=True),
    b"\nzz: &a [*a]",
    b"\nsummary: &a {b: *a}",
    b"\nzz: " + b"[" * 20_000,
    b"\nzz: " + b"{a: " * 20_000,
    b"\n" + b"? " * 5_000,
    b"\n" + b"- " * 5_000,
    b"\nsummary: " + b"9" * 5_000,
    b"\nsummary: 2001-99-99",
    b"\nsummary: " + b"x" * 1_500_000,
    b"\n---\nsecond: document",
    b"\nsummary: !!python/object/apply:os.system ['touch owned']",
    b"\nsummary: !!python/object/new:type {args: [a, [], {}]}",
    b"\n%YAML 9.9\n---\n",
    b"\n\xff\xfe",
)
JSON_BOMBS = (
    b"[" * 200_000,
    b'{"a":' * 200_000,
    b"9" * 5_000,
    b'{"n": ' + b"9" * 5_000 + b"}",
    b"1e999999",
    b"NaN",
    b"\xff\xfe{}",
    b'"\\ud800"',
    b"null",
    b"",
)


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a tree where something stands: (the mapping or list, the key)."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield tree, key
        yield from _places(value)


def _json(tree: Any) -> Any:
    """What JSON can hold of `tree`: keys are texts."""
    if isinstance(tree, dict):
        return {str(key): _json(value) for key, value in tree.items()}
    return [_json(value) for value in tree] if isinstance(tree, list) else tree
