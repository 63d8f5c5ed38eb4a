"""From a file to RGB: every common kind of image comes out right, the rest is `Unreadable` for a reason."""

from __future__ import annotations

import errno
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ssl_ce.data.options import Fit
from ssl_ce.data.source import RawImage
from ssl_ce.errors import DataLostError

_EXIF_ORIENTATION = 0x0112
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
# Longer shapes are cut to this aspect ratio first: resized as a whole, a sliver would fill the memory.
_SLIVER = 16
_LARGE = 1 << 24
_large = threading.Lock()
# What a whole image meets on a machine that fails: a broken disk or network, too many open files, no memory.
_OF_THE_MACHINE = (errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class Unreadable(Exception):  # noqa: N818 - a finding about an image, handled by the packer
    """An image that cannot be decoded; the message is the reason, without the path."""


def decode(image: RawImage | BytesIO) -> Image.Image:
    """The image (`BytesIO`: a file's content in memory) as Pillow's "RGB", upright.

    EXIF orientation is applied, transparency is laid on white, CMYK (Adobe's inverted too) becomes RGB, grey
    of 16 bits is scaled to 8 (v / 257, rounded). Of an animation the first frame is taken.

    Raises
    ------
    Unreadable
        If it is not an image, is cut off, or declares more pixels than Pillow's `MAX_IMAGE_PIXELS` (checked
        before anything is decoded).
    DataLostError, MemoryError
        If the machine cannot read it: a broken disk, too many open files, too little memory.
    """
    with reasons():
        if not isinstance(image, str | Path | BytesIO):
            return _to_rgb(image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image)))
        with _open(image) as opened, _alone(opened):
            opened.load()
            return _to_rgb(_upright(opened))


def decode_with_alpha(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """A file's image as `decode` gives it, uint8 (3, h, w), and its opacity, uint8 (h, w), None where it has none.

    Raises
    ------
    Unreadable
        As `decode`.
    """
    with reasons(), _open(path) as opened:
        opened.load()
        image = _upright(opened)
        return np.ascontiguousarray(np.asarray(_to_rgb(image)).transpose(2, 0, 1)), _opacity(image)


def decode_numbers(path: Path) -> NDArray[np.integer[Any]]:
    """A file's number for each pixel, of grey or a palette, (h, w) in its own type, as written and as they lie.

    Raises
    ------
    Unreadable
        As `decode`, and if it holds colours.
    """
    with reasons(), _open(path) as opened:
        if not _is_single(opened):
            raise Unreadable(f"it holds colours ({opened.mode}), not one number for each pixel")
        opened.load()
        values = np.asarray(opened)
        return values.astype(np.uint8) if values.dtype == bool else values


def holds_numbers(path: Path) -> bool:
    """Whether `decode_numbers` would find numbers, from the header alone. Raises `Unreadable` like `decode`."""
    with reasons(), _open(path) as opened:
        return _is_single(opened)


def fit_square(image: Image.Image, size: int, fit: Fit = "crop") -> NDArray[np.uint8]:
    """`image` ("RGB") as a square, by Pillow's antialiased bicubic: uint8 (3, size, size).

    "crop" equals torchvision's `Resize(size, BICUBIC)` followed by `CenterCrop(size)`, up to an aspect ratio
    of 16; "squash" resizes both sides; "pad" resizes the longer side and adds black around the centre.
    """
    square = _squared(image, size, fit, Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))


def fit_map(values: NDArray[np.uint8], size: int, fit: Fit = "crop", beyond: int = 0) -> NDArray[np.uint8]:
    """What belongs to an image pixel by pixel, uint8 (h, w), as the square that `fit_square` makes of the image.

    Nearest neighbour, so that no value is made up: uint8 (size, size). What "pad" adds is `beyond`.
    """
    square = _squared(Image.fromarray(values), size, fit, Image.Resampling.NEAREST, beyond)
    return np.array(square)


def fit_boxes(boxes: NDArray[np.float64], native: tuple[int, int], size: int, fit: Fit = "crop") -> NDArray[np.float64]:
    """Boxes in an image of `native` (height, width) as they lie in the square that `fit_square` makes of it.

    float64 (k, 4), left, top, right and bottom in pixels, an image's first pixel reaching from 0 to 1 -> the same in
    the square's pixels. They may reach beyond the square.
    """
    place = _placement(native[1], native[0], size, fit)
    left, top, width, height = place.cut
    scale = np.array([place.inner[0] / width, place.inner[1] / height] * 2)
    moved: NDArray[np.float64] = (boxes - np.array([left, top] * 2)) * scale + np.array(place.corner * 2)
    return moved


def native_size(image: RawImage) -> tuple[int, int]:
    """(height, width) of the upright image, from the header alone. Raises `Unreadable` like `decode`."""
    with reasons():
        if not isinstance(image, str | Path):
            pixels = np.asarray(image)
            return int(pixels.shape[0]), int(pixels.shape[1])
        with _open(image) as opened:
            # Pillow gives a TIFF's size upright already, in some versions.
            tags = getattr(opened, "tag_v2", {})
            width, height = tags.get(_TIFF_WIDTH, opened.width), tags.get(_TIFF_HEIGHT, opened.height)
            turned = opened.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
            return (width, height) if turned else (height, width)


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Silence Pillow's warnings about odd files: they tear the progress bar; what matters is an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\..*")
        yield


@contextmanager
def reasons() -> Iterator[None]:
    """Turn whatever Pillow's parsers raise on a broken file into `Unreadable` with a reason in one line.

    A machine that fails says nothing of the image: `MemoryError` goes on, its other troubles are `DataLostError`.
    """
    try:
        yield
    except (Unreadable, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise Unreadable("not an image in a known format") from error
    except Image.DecompressionBombError as error:
        raise Unreadable(f"too large to be decoded safely: {_one_line(error)}") from error
    except OSError as error:
        if error.errno in _OF_THE_MACHINE:
            which = error.filename or "An image"
            raise DataLostError(f"{which} cannot be read: {error.strerror}. Mend that and run again.") from error
        raise Unreadable(error.strerror or _one_line(error)) from error
    except Exception as error:  # a damaged file can raise nearly anything inside a parser
        raise Unreadable(f"damaged: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


@dataclass(frozen=True)
class _Placement:
    """How an image becomes a square: the part `cut` out of it, resized to `inner`, is laid at `corner` of the square.

    `cut` is left, top, width, height in the image's pixels; `inner` and `corner` are horizontal, then vertical, in the
    square's. A corner beyond the square is negative: there the image is cut.
    """

    cut: tuple[int, int, int, int]
    inner: tuple[int, int]
    corner: tuple[int, int]


def _placement(width: int, height: int, size: int, fit: Fit) -> _Placement:
    if fit == "squash":
        return _Placement((0, 0, width, height), (size, size), (0, 0))
    if fit == "pad":
        scale = size / max(width, height)
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        return _Placement((0, 0, width, height), inner, ((size - inner[0]) // 2, (size - inner[1]) // 2))
    longest = _SLIVER * min(width, height)
    across, down = min(width, longest), min(height, longest)
    resized = int(size * max(across, down) / min(across, down))
    inner = (resized, size) if across > down else (size, resized)
    cut = (_margin(width, across), _margin(height, down), across, down)
    return _Placement(cut, inner, (-_margin(inner[0], size), -_margin(inner[1], size)))


def _squared(image: Image.Image, size: int, fit: Fit, resampling: Image.Resampling, beyond: int = 0) -> Image.Image:
    place = _placement(image.width, image.height, size, fit)
    left, top, width, height = place.cut
    if (width, height) != image.size:
        image = image.crop((left, top, left + width, top + height))
    resized = image.resize(place.inner, resampling)
    if fit == "pad":
        square = Image.new(image.mode, (size, size), beyond)
        square.paste(resized, place.corner)
        return square
    x, y = (-margin for margin in place.corner)
    return resized.crop((x, y, x + size, y + size))


def _margin(whole: int, part: int) -> int:
    return round((whole - part) / 2.0)


def _open(path: str | Path | BytesIO) -> Image.Image:
    opened = Image.open(path)
    limit = Image.MAX_IMAGE_PIXELS
    width, height = opened.size
    if limit is not None and width * height > limit:
        opened.close()
        raise Unreadable(f"{width} x {height} pixels are more than the {limit:,} that are decoded safely")
    return opened


@contextmanager
def _alone(image: Image.Image) -> Iterator[None]:
    """Large images are decoded one at a time, whatever the number of threads: each takes up to two gigabytes."""
    with _large if image.width * image.height > _LARGE else nullcontext():
        yield


def _upright(image: Image.Image) -> Image.Image:
    # A broken EXIF block must not cost the image: it is then taken as it lies.
    try:
        return ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception:
        return image


def _is_single(image: Image.Image) -> bool:
    return image.mode in ("1", "L", "P", "I") or image.mode.startswith("I;16")


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I;16") or image.mode in ("I", "F")


def _opacity(image: Image.Image) -> NDArray[np.uint8] | None:
    if not _has_alpha(image):
        return None
    if _is_deep(image):  # one value is transparent, which Pillow leaves to us
        return np.where(np.asarray(image) == image.info["transparency"], 0, 255).astype(np.uint8)
    return np.asarray(image.convert("RGBA"))[..., 3].copy()


def _to_rgb(image: Image.Image) -> Image.Image:
    if _is_deep(image):
        grey, opacity = _scale_deep_grey(image), _opacity(image)
        if opacity is not None:
            grey.paste((255, 255, 255), mask=Image.fromarray(255 - opacity))
        return grey
    if _has_alpha(image):
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _scale_deep_grey(image: Image.Image) -> Image.Image:
    """Grey values of 16 bits (some formats hand them over as 32), or floats from 0 to 1, as 8 bits."""
    values = np.asarray(image).astype(np.float64)
    top = 1.0 if image.mode == "F" else 65535.0
    if values.size and (values.min() < 0.0 or values.max() > top):
        raise Unreadable(f"its grey values leave the range from 0 to {top:g}: convert it to 8 or 16 bits")
    return Image.fromarray(np.rint(values * (255.0 / top)).astype(np.uint8)).convert("RGB")
