"""Malformed pictures, masks, label maps and boxes."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Iterator, Mapping

import numpy as np
from fuzzing import Case, Kind
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from mutations import damaged, damaged_json, damaged_text
from PIL import Image

_MODES = {
    "png": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"), "jpg": ("RGB", "L", "CMYK"), "gif": ("P", "L", "RGB"),
    "webp": ("RGB", "RGBA"), "tif": ("RGB", "L", "I;16", "F", "CMYK", "1"), "bmp": ("RGB", "L", "P", "1"),
    "ppm": ("RGB", "L"),
}  # fmt: skip
_OPTIONS = {"tif": {"compression": "tiff_lzw"}, "webp": {"lossless": True}}
_PIXELS = np.random.default_rng(0).integers(0, 255, (20, 24, 3), dtype=np.uint8)
_MANY = 100_000


def image_kinds(seeds: Mapping[str, bytes]) -> Iterator[Kind]:
    """Kinds whose damaged file is a picture, or lies beside pictures."""
    whole = encode("png", "RGB")
    commands = (
        ("data", "info", "photos", "--no-duplicates"),
        ("data", "pack", "photos", "--size", "16", "--split", "all", "--out", "out/a.pack"),
        ("data", "pack", "photos", "--size", "16", "--split", "all", "--out", "out/a.pack", "--allow-unreadable"),
        ("inpaint", "mean-color", "photos/a{}", "--holes", "center", "-o", "out/a.png"),
    )
    named = st.one_of(
        *(
            st.tuples(st.sampled_from((f".{suffix}", ".png")), damaged(encode(suffix, mode)))
            for suffix, modes in _MODES.items()
            for mode in modes
        )
    )
    pictures = st.tuples(st.sampled_from(commands), named).map(lambda drawn: _picture(drawn[0], *drawn[1]))
    yield Kind("images", _picture(commands[1], ".png", whole), pictures)
    bombs = st.tuples(st.sampled_from(commands), st.sampled_from(list(_bombs())))
    yield Kind(
        "decompression bombs", _picture(commands[1], ".png", whole), bombs.map(lambda drawn: _picture(*_named(drawn)))
    )
    black = Image.new("L", (24, 20))
    black.paste(255, (6, 6, 12, 14))
    masks = {f".{suffix}": _saved(black.convert(modes[1 % len(modes)]), suffix) for suffix, modes in _MODES.items()}
    damaged_masks = st.one_of(*(st.tuples(st.just(suffix), damaged(mask)) for suffix, mask in masks.items()))
    other = st.sampled_from(
        [(".png", _saved(black.resize(size), "png")) for size in ((1, 1), (24, 1), (25, 20), (400, 400))]
    )
    yield Kind(
        "masks",
        _mask("a{}", ".png", masks[".png"]),
        st.tuples(st.sampled_from(("a{}", ".")), st.one_of(damaged_masks, damaged_masks, other, other | named)).map(
            lambda drawn: _mask(drawn[0], *drawn[1])
        ),
    )
    yield from _beside()


def encode(suffix: str, mode: str, shift: int = 0) -> bytes:
    """A noisy picture of 24 x 20 pixels, rolled down by `shift`; a GIF has frames, a JPEG tells its orientation."""
    pixels = np.roll(_PIXELS, shift, axis=0)
    if mode in ("I;16", "F"):
        grey = pixels[..., 0]
        picture = Image.fromarray(grey.astype(np.uint16) * 257 if mode == "I;16" else grey.astype(np.float32) / 255)
    else:
        picture = Image.fromarray(pixels).convert(mode)
    return _saved(picture, suffix)


def _saved(picture: Image.Image, suffix: str) -> bytes:
    buffer = io.BytesIO()
    options = dict(_OPTIONS.get(suffix, {}))
    if suffix == "gif":
        options = {"save_all": True, "append_images": [picture.rotate(90), picture.rotate(180)]}
    elif suffix == "jpg":
        exif = Image.Exif()
        exif[0x0112] = 6
        options = {"exif": exif.tobytes()}
    picture.save(buffer, {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper()), **options)
    return buffer.getvalue()


def _picture(command: tuple[str, ...], suffix: str, content: bytes) -> Case:
    files = {f"photos/a{suffix}": content, "photos/b.png": encode("png", "RGB"), "photos/c.png": encode("png", "L")}
    return Case([part.format(suffix) for part in command], files)


def _named(drawn: tuple[tuple[str, ...], tuple[str, bytes]]) -> tuple[tuple[str, ...], str, bytes]:
    return drawn[0], *drawn[1]


def _mask(where: str, suffix: str, content: bytes) -> Case:
    files = {"a.png": encode("png", "RGB"), f"masks/a{suffix}": content}
    return Case(
        ["inpaint", "mean-color", "a.png", "--holes", f"masks/{where.format(suffix)}", "-o", "out/a.png"], files
    )


def _png(width: int, height: int, *chunks: tuple[bytes, bytes], depth: int = 8, colour: int = 2) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IEND", b"")]
    written = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)


def _bombs() -> Iterator[tuple[str, bytes]]:
    """Small files that say they are large, or become large when they are read: (suffix, content)."""
    zeros = zlib.compress(bytes(300 << 20), 9)
    pixels = zlib.compress(bytes(20 * (1 + 24 * 3)))
    for side in (30_000, _MANY, 2**31 - 1):
        yield ".png", _png(side, side, (b"IDAT", zeros))
        yield ".png", _png(side, 1, (b"IDAT", pixels))
    for name, head in ((b"zTXt", b"Comment\0\0"), (b"iTXt", b"Comment\0\1\0\0\0"), (b"iCCP", b"profile\0\0")):
        yield ".png", _png(24, 20, (name, head + zeros), (b"IDAT", pixels))
        yield ".png", _png(24, 20, *[(name, head + zeros)] * 40, (b"IDAT", pixels))
    yield ".png", _png(24, 20, (b"IDAT", zeros))
    yield ".png", _png(24, 20, (b"eXIf", bytes(1 << 20)), (b"IDAT", pixels))
    yield ".png", _png(24, 20, (b"acTL", struct.pack(">II", 2**31 - 1, 0)), (b"IDAT", pixels))
    frame = encode("gif", "P")
    for width, height in ((65535, 65535), (65535, 1), (0, 0)):
        yield ".gif", frame[:6] + struct.pack("<HH", width, height) + frame[10:]
    frames = [Image.new("P", (8, 8), number % 256) for number in range(3000)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    yield ".gif", buffer.getvalue()
    bitmap = encode("bmp", "RGB")
    for width, height in ((_MANY, _MANY), (2**31 - 1, 1), (2**31 - 1, 2**31 - 1), (-1, -1)):
        yield ".bmp", bitmap[:18] + struct.pack("<ii", width, height) + bitmap[26:]
    jpeg = encode("jpg", "RGB")
    place = jpeg.index(b"\xff\xc0") + 5
    for height, width in ((65500, 65500), (0, 24), (65500, 1)):
        yield ".jpg", jpeg[:place] + struct.pack(">HH", height, width) + jpeg[place + 4 :]
    yield ".jpg", jpeg[:2] + b"\xff\xe2\xff\xffICC_PROFILE\0\1\xff" + bytes(65519) + jpeg[2:]
    for tag, value in ((256, 2**31), (257, 2**31), (256, 2**32 - 1), (278, 2**32 - 1), (277, 65535), (258, 65535)):
        yield ".tif", _tiff(tag, value)
    for text in (
        b"P6 99999 99999 255\n",
        b"P6 " + b"9" * 5000 + b" 1 255\n",
        b"P5 24 20 65535\n",
        b"P3 9 9 255\n" + b"9" * 5000,
    ):
        yield ".ppm", text + bytes(2000)


def _tiff(tag: int, value: int) -> bytes:
    """A TIFF one of whose entries lies."""
    content = bytearray(encode("tif", "L"))
    directory = struct.unpack_from("<I", content, 4)[0]
    for entry in range(struct.unpack_from("<H", content, directory)[0]):
        place = directory + 2 + 12 * entry
        if struct.unpack_from("<H", content, place)[0] == tag:
            struct.pack_into("<HII", content, place + 2, 4, 1, value)
    return bytes(content)


def _beside() -> Iterator[Kind]:
    """Label maps with the names of their classes, and annotations."""
    picture, labels = encode("png", "RGB"), Image.fromarray((_PIXELS[..., 0] // 90).astype(np.uint8))
    names = {"0": "sky", "1": {"name": "road"}, "2": "void"}
    other = _saved(Image.fromarray(_PIXELS[::-1]), "png")
    pairs = {f"data/train/images/{name}.png": picture for name in "ab"}
    pairs |= {f"data/test/images/{name}.png": other for name in "ab"}
    maps = {f"data/{split}/masks/{name}.png": _saved(labels, "png") for split in ("train", "test") for name in "ab"}
    fill = ["evaluate", "inpainting", "mean-color", "--data", "data", "--holes", "center", "--no-floors",
            "--size", "20", "--results", "out/results"]  # fmt: skip
    classes = "data/classes.json"
    whole = {**pairs, **maps, classes: json.dumps(names).encode()}
    damaged_map = st.one_of(*(damaged(encode("png", mode)) for mode in _MODES["png"]), damaged(_saved(labels, "png")))
    yield Kind(
        "label maps and their classes",
        Case(fill, whole),
        st.one_of(
            damaged_map.map(lambda content: Case(fill, {**whole, "data/test/masks/a.png": content})),
            damaged_json(names).map(lambda content: Case(fill, {**whole, "data/test/classes.json": content})),
        ),
    )
    box = "<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>{}</xmax><ymax>18</ymax></bndbox>"
    thing = "<object><name>{}</name><difficult>0</difficult>" + box + "</object>"
    size = "<size><width>24</width><height>20</height></size>"
    text = f"<?xml version='1.0'?><annotation>{size}{thing.format('cat', 12)}{thing.format('dog', 20)}</annotation>"
    detect = ["evaluate", "detection", "random:dcgan?width=0.1&size=32", "--data", "data", "--size", "32",
              "--no-floors", "--set", "steps=1", "--set", "batch_size=2", "--set", "fewest_cells=2", "--set",
              "hidden=8", "--set", "channels=8", "--results", "out/results"]  # fmt: skip
    boxes = {f"data/{split}/annotations/{name}.xml": text.encode() for split in ("train", "test") for name in "ab"}
    described = {**pairs, **boxes}
    xml: SearchStrategy[bytes] = st.one_of(
        damaged_text(text), damaged(text.encode()), st.sampled_from(list(_xml_bombs(text)))
    )
    yield Kind(
        "boxes (XML)",
        Case(detect, described),
        xml.map(lambda content: Case(detect, {**described, "data/test/annotations/a.xml": content})),
    )


def _xml_bombs(text: str) -> Iterator[bytes]:
    laughs = "".join(f"<!ENTITY l{n} '{f'&l{n - 1};' * 10}'>" for n in range(1, 12))
    yield f"<!DOCTYPE a [<!ENTITY l0 'ha'>{laughs}]><annotation>&l11;</annotation>".encode()
    yield b"<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><annotation><object><name>&x;</name></object></annotation>"
    yield b"<!DOCTYPE a SYSTEM 'http://localhost/a.dtd'><annotation/>"
    yield b"<annotation>" + b"<a>" * 200_000
    yield b"<annotation>" + b"<a>" * 100_000 + b"</a>" * 100_000 + b"</annotation>"
    yield b"<annotation " + b" ".join(b"a%d=''" % n for n in range(80_000)) + b"/>"
    yield b"<annotation>" + b"x" * (2 << 20) + b"</annotation>"
    for number in ("nan", "1e400", "-5", "9" * 400, "0x1", "1_0", "٣", ""):
        yield text.replace("<xmax>12<", f"<xmax>{number}<").encode()
        yield text.replace("<width>24<", f"<width>{number}<").encode()
    yield text.encode("utf-16")
    yield text.replace("1.0'", "1.0' encoding='utf-7'").encode()
    yield text.replace("1.0'", "1.0' encoding='\x1b[2J'").encode()
    yield text.replace("cat", "\x1b[2J").encode()
    yield text.replace("cat", "c" * 10_000).encode()
