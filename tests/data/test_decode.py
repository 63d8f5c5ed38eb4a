from __future__ import annotations

import errno
import io
import math
import os
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from ssl_ce.data.decode import (
    Unreadable,
    decode,
    decode_numbers,
    decode_with_alpha,
    fit_map,
    fit_square,
    holds_numbers,
    native_size,
    quiet_pillow,
)
from ssl_ce.data.options import Fit
from ssl_ce.errors import DataLostError

COLOURS = [(220, 30, 40), (20, 200, 60), (30, 60, 210), (240, 220, 20)]


def quadrants(width: int = 64, height: int = 64) -> Image.Image:
    """Four plain colours, clockwise from the top left."""
    pixels = np.empty((height, width, 3), dtype=np.uint8)
    y, x = height // 2, width // 2
    pixels[:y, :x], pixels[:y, x:], pixels[y:, x:], pixels[y:, :x] = COLOURS
    return Image.fromarray(pixels)


def assert_quadrants(image: Image.Image, tolerance: int = 0) -> None:
    width, height = image.size
    places = [(1, 1), (3, 1), (3, 3), (1, 3)]
    found = np.array([image.getpixel((x * width // 4, y * height // 4)) for x, y in places])
    assert image.mode == "RGB"
    assert np.abs(found - np.array(COLOURS)).max() <= tolerance


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("a.png", 0), ("a.bmp", 0), ("a.tif", 0), ("a.ppm", 0), ("a.jpg", 4), ("a.webp", 6), ("a.gif", 0)],
)
def test_common_formats_keep_their_colours(tmp_path: Path, name: str, tolerance: int) -> None:
    quadrants().save(tmp_path / name)
    assert_quadrants(decode(tmp_path / name), tolerance)


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    Image.new("L", (8, 8), 77).save(tmp_path / "grey.png")
    assert decode(tmp_path / "grey.png").getpixel((3, 3)) == (77, 77, 77)


def test_alpha_is_laid_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (200, 0, 100, 51)).save(tmp_path / "alpha.png")  # 51 / 255 = 0.2
    assert decode(tmp_path / "alpha.png").getpixel((3, 3)) == (244, 204, 224)


def test_grey_with_alpha_is_laid_on_white(tmp_path: Path) -> None:
    Image.new("LA", (8, 8), (0, 51)).save(tmp_path / "alpha.png")
    assert decode(tmp_path / "alpha.png").getpixel((3, 3)) == (204, 204, 204)


def test_a_transparent_palette_entry_becomes_white(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 10, 150, 90, 200, 0, 0])
    image.paste(2, (0, 0, 4, 8))
    image.save(tmp_path / "palette.png", transparency=2)
    decoded = decode(tmp_path / "palette.png")
    assert decoded.getpixel((1, 1)) == (255, 255, 255)
    assert decoded.getpixel((6, 1)) == (10, 150, 90)


def test_a_transparent_colour_of_an_rgb_png_becomes_white(tmp_path: Path) -> None:
    quadrants().save(tmp_path / "rgb.png", transparency=COLOURS[0])
    decoded = decode(tmp_path / "rgb.png")
    assert decoded.getpixel((1, 1)) == (255, 255, 255)
    assert decoded.getpixel((60, 1)) == COLOURS[1]


def test_cmyk_jpeg_is_not_inverted(tmp_path: Path) -> None:
    quadrants().convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    assert_quadrants(decode(tmp_path / "cmyk.jpg"), 12)


def test_cmyk_jpeg_written_the_adobe_way_is_not_inverted(tmp_path: Path) -> None:
    """Pillow writes inverted CMYK and an Adobe marker, as Photoshop does: the bytes must show it."""
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "adobe.jpg", quality=95)
    assert b"Adobe" in (tmp_path / "adobe.jpg").read_bytes()
    red, green, blue = decode(tmp_path / "adobe.jpg").getpixel((8, 8))
    assert red > 240
    assert max(green, blue) < 15


@pytest.mark.parametrize("name", ["deep.png", "deep.tif", "deep.pgm"])
def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path, name: str) -> None:
    values = np.array([[0, 128, 129, 257, 20000, 40000, 65407, 65535]], dtype=np.uint16)
    if name.endswith("pgm"):
        (tmp_path / name).write_bytes(b"P5 8 1 65535\n" + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(tmp_path / name)
    decoded = np.asarray(decode(tmp_path / name))[0, :, 0]
    assert decoded.tolist() == [round(int(v) / 257) for v in values[0]]


def test_floats_from_0_to_1_are_scaled_and_others_refused(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32)).save(tmp_path / "unit.tif")
    assert np.asarray(decode(tmp_path / "unit.tif"))[0, :, 0].tolist() == [0, 128, 255]
    Image.fromarray(np.array([[0.0, 3.5]], dtype=np.float32)).save(tmp_path / "wide.tif")
    with pytest.raises(Unreadable, match="range from 0 to 1"):
        decode(tmp_path / "wide.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["turned.jpg", "turned.png", "turned.webp", "turned.tif"])
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, name: str) -> None:
    """What the camera stored, by the EXIF standard's table, such that the upright image has the quadrants."""
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = quadrants(64, 32) if undo is None else quadrants(64, 32).transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / name, exif=exif)
    decoded = decode(tmp_path / name)
    assert decoded.size == (64, 32)
    assert_quadrants(decoded, 8)
    assert native_size(tmp_path / name) == (32, 64)


def test_an_image_in_memory_is_taken_as_it_is() -> None:
    pixels = np.arange(8 * 9 * 3, dtype=np.uint8).reshape(8, 9, 3)
    assert np.array_equal(np.asarray(decode(pixels)), pixels)
    assert native_size(pixels) == (8, 9)
    assert np.array_equal(np.asarray(decode(pixels[..., 0])), np.repeat(pixels[..., :1], 3, axis=2))


def test_a_cut_off_file_is_unreadable(tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for name in ("cut.jpg", "cut.png", "cut.bmp"):
        stream = io.BytesIO()
        noise.save(stream, {"jpg": "JPEG", "png": "PNG", "bmp": "BMP"}[name[-3:]])
        (tmp_path / name).write_bytes(stream.getvalue()[: len(stream.getvalue()) // 2])
        with pytest.raises(Unreadable) as caught:
            decode(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not an image at all", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_what_is_no_image_is_unreadable(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(Unreadable):
        decode(tmp_path / "a.png")
    with pytest.raises(Unreadable):
        native_size(tmp_path / "a.png")


def test_a_missing_file_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="No such file"):
        decode(tmp_path / "gone.png")


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_a_machine_that_fails_does_not_make_an_image_unreadable(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    quadrants().save(path)

    def failing(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", failing)
    with pytest.raises(DataLostError, match=os.strerror(number)):
        decode(path)


@pytest.mark.parametrize("where", ["PIL.ImageFile.ImageFile.load", "PIL.ImageOps.exif_transpose"])
def test_too_little_memory_does_not_make_an_image_unreadable(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    quadrants().save(path)

    def failing(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(where, failing)
    with pytest.raises(MemoryError):
        decode(path)


@pytest.mark.parametrize("side", [40, 1000])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    """Above Pillow's limit (where it only warns), and above twice that."""
    Image.new("RGB", (side, side)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("it was decoded"))
    with quiet_pillow(), pytest.raises(Unreadable, match="safely"):
        decode(tmp_path / "bomb.png")


@pytest.mark.parametrize("width", [33, 64, 97, 130, 511])
@pytest.mark.parametrize("size", [16, 32, 61, 96])
def test_crop_equals_torchvisions_resize_and_center_crop(width: int, size: int) -> None:
    generator = np.random.default_rng(width)
    for shape in ((64, width, 3), (width, 64, 3)):
        image = Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8))
        bicubic = v2.InterpolationMode.BICUBIC
        expected = v2.CenterCrop(size)(v2.Resize(size, bicubic, antialias=True)(image))
        found = fit_square(image, size)
        assert found.shape == (3, size, size)
        assert found.dtype == np.uint8
        assert np.array_equal(found.transpose(1, 2, 0), np.asarray(expected))


def test_squash_resizes_both_sides() -> None:
    image = quadrants(100, 40)
    found = fit_square(image, 20, "squash")
    assert np.array_equal(found.transpose(1, 2, 0), np.asarray(image.resize((20, 20), Image.Resampling.BICUBIC)))


def test_pad_keeps_the_whole_image_on_black() -> None:
    found = fit_square(quadrants(100, 50), 20, "pad")
    assert (found[:, :5] == 0).all()
    assert (found[:, 15:] == 0).all()
    assert_quadrants(Image.fromarray(found[:, 5:15].transpose(1, 2, 0)), 1)


def test_a_sliver_of_an_image_takes_no_great_memory() -> None:
    """Resized as a whole, 50,000 x 1 at 128 would be a picture of 6,400,000 x 128."""
    for fit in ("crop", "squash", "pad"):
        assert fit_square(Image.new("RGB", (50_000, 1), (1, 2, 3)), 128, fit).shape == (3, 128, 128)


def test_a_shrunk_checkerboard_is_grey_not_aliased() -> None:
    board = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    found = torch.from_numpy(fit_square(decode(board), 32))
    assert (found.float() - 127.5).abs().max() < 4


def test_the_transparent_value_of_sixteen_bit_grey_becomes_white(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    values = np.array([[0, 257, 25700, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(path)
    whole = path.read_bytes()
    chunk = b"tRNS" + (25700).to_bytes(2, "big")
    place = whole.index(b"IDAT") - 4
    added = (2).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    path.write_bytes(whole[:place] + added + whole[place:])
    pixels, alpha = decode_with_alpha(path)
    assert pixels[0, 0].tolist() == [0, 1, 255, 255]
    assert alpha is not None
    assert alpha.tolist() == [[255, 255, 0, 255]]


@pytest.mark.parametrize(("width", "height"), [(30, 20), (20, 31), (16, 16), (5, 200)])
@pytest.mark.parametrize("size", [16, 37])
@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
def test_a_map_is_the_square_of_its_image_pixel_by_pixel(width: int, height: int, size: int, fit: Fit) -> None:
    """Every pixel of the square takes the value in which its centre lies, in the geometry of the image."""
    values = np.random.default_rng(0).integers(0, 200, (height, width)).astype(np.uint8)
    found = fit_map(values, size, fit, beyond=255)
    if fit == "crop" and height > 16 * width:
        values = values[(height - 16 * width) // 2 :][: 16 * width]
    tall, wide = values.shape
    short, long = min(tall, wide), max(tall, wide)
    scaled = {
        "crop": (size * tall // short, size * wide // short),
        "squash": (size, size),
        "pad": (max(1, round(tall * size / long)), max(1, round(wide * size / long))),
    }[fit]
    offset = [(size - side) // 2 if fit == "pad" else -round((side - size) / 2) for side in scaled]

    def lying_at(place: int, axis: int) -> list[int]:
        """Rows or columns in which a pixel's centre lies: two if it lies on their border, none beyond the image."""
        centre = Fraction(2 * (place - offset[axis]) + 1, 2 * scaled[axis]) * values.shape[axis]
        places = {math.floor(centre), math.ceil(centre) - 1}
        return [place for place in places if 0 < centre < values.shape[axis]]

    for y in range(size):
        for x in range(size):
            allowed = [values[row, column] for row in lying_at(y, 0) for column in lying_at(x, 1)]
            assert found[y, x] in (allowed or [255])


def test_numbers_come_as_they_were_written(tmp_path: Path) -> None:
    numbers = np.array([[0, 1, 7], [200, 254, 255]], dtype=np.uint8)
    Image.fromarray(numbers).save(tmp_path / "grey.png")
    palette = Image.fromarray(numbers, "P")
    palette.putpalette(np.random.default_rng(0).integers(0, 256, 768).astype(np.uint8).tobytes())
    palette.save(tmp_path / "palette.png")
    Image.fromarray(numbers.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(numbers > 100).save(tmp_path / "bits.png")
    assert np.array_equal(decode_numbers(tmp_path / "grey.png"), numbers)
    assert np.array_equal(decode_numbers(tmp_path / "palette.png"), numbers)
    assert np.array_equal(decode_numbers(tmp_path / "deep.png"), numbers.astype(int) * 257)
    assert np.array_equal(decode_numbers(tmp_path / "bits.png"), numbers > 100)


def test_colours_are_no_numbers(tmp_path: Path) -> None:
    quadrants().save(tmp_path / "rgb.png")
    Image.new("LA", (4, 4)).save(tmp_path / "alpha.png")
    for name, mode in (("rgb.png", "RGB"), ("alpha.png", "LA")):
        assert not holds_numbers(tmp_path / name)
        with pytest.raises(Unreadable, match=f"colours \\({mode}\\)"):
            decode_numbers(tmp_path / name)
