"""Duplicates between splits: pHash against its definition written out, and copies that are planted."""

from __future__ import annotations

import io
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.fft
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ssl_ce.data.duplicates import THRESHOLD, Duplicates, find_duplicates, perceptual_hash
from ssl_ce.data.imageset import Indices, Task
from ssl_ce.errors import UserError
from ssl_ce.files import cache_dir, digest


@dataclass(frozen=True)
class Images:
    """An image set of `pixels`, uint8 (n, 3, h, w)."""

    pixels: Tensor
    split: str
    name: str = "made"
    task: Task = "none"
    classes: tuple[str, ...] = ()
    source: dict[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        return digest(self.pixels.numpy().tobytes())

    @property
    def size(self) -> tuple[int, int] | None:
        return self.pixels.shape[2], self.pixels.shape[3]

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, indices: Indices) -> Tensor:
        return self.pixels[torch.as_tensor(indices)]

    def read_one(self, index: int) -> Tensor:
        return self.pixels[index]

    def targets(self, indices: Indices | None = None) -> NDArray[np.int64]:
        return np.zeros((len(self) if indices is None else len(indices), 0), np.int64)


def clouds(count: int, size: int, seed: int) -> Tensor:
    """Smooth random pictures, as photographs are: uint8 (count, 3, size, size)."""
    noise = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    grown = torch.nn.functional.interpolate(noise, size=(size, size), mode="bicubic", align_corners=False)
    return (grown.clamp(0, 1) * 255).round().to(torch.uint8)


def jpeg(image: Tensor) -> Tensor:
    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=75)
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)


def phash_by_definition(image: Tensor) -> list[bool]:
    """64 bits: one image at a time, by scipy's two-dimensional transform."""
    red, green, blue = image.numpy().astype(np.float64)
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    height, width = grey.shape
    small = grey.reshape(32, height // 32, 32, width // 32).mean(axis=(1, 3))
    low = scipy.fft.dctn(small, type=2)[:8, :8].flatten()
    return list(low > np.median(low))


@pytest.mark.parametrize("size", [32, 64, 128])
def test_the_hash_is_phash(size: int) -> None:
    images = clouds(6, size, seed=size)
    hashes, structured = perceptual_hash(images)
    assert structured.all()
    for image, found in zip(images, hashes, strict=True):
        assert np.unpackbits(np.array([found]).view(np.uint8)).astype(bool).tolist() == phash_by_definition(image)


@pytest.mark.parametrize("size", [8, 33, 100])
def test_a_picture_with_every_pixel_repeated_has_the_same_hash(size: int) -> None:
    images = clouds(5, size, seed=size)
    larger = images.repeat_interleave(3, dim=2).repeat_interleave(2, dim=3)
    (found, _), (expected, _) = perceptual_hash(larger), perceptual_hash(images)
    assert np.bitwise_count(found ^ expected).max() <= 2  # rounding may turn the two middle values round


def test_planted_copies_are_found_with_their_places() -> None:
    train, test = clouds(300, 64, seed=1), clouds(50, 64, seed=2)
    test[7] = train[123]
    test[20] = jpeg(train[45])
    test[31] = (train[200].float() * 0.9).to(torch.uint8)
    found = find_duplicates(Images(train, "train"), Images(test, "test"))
    assert (found.exact, found.near) == (1, 2)
    assert found.pairs[0] == (7, 123, -1)
    assert [pair[:2] for pair in found.pairs] == [(7, 123), (20, 45), (31, 200)]
    assert all(0 <= bits <= THRESHOLD for _, _, bits in found.pairs[1:])
    assert found.counts() == {"exact": 1, "near": 2, "threshold": THRESHOLD}


def test_the_search_finds_what_comparing_all_pairs_finds() -> None:
    train, test = clouds(200, 32, seed=3), clouds(100, 32, seed=4)
    test[:40] = torch.stack([jpeg(image) for image in train[:40]])
    bits = [[phash_by_definition(image) for image in images] for images in (train, test)]
    expected = {
        place
        for place, one in enumerate(bits[1])
        if min(sum(a != b for a, b in zip(one, other, strict=True)) for other in bits[0]) <= THRESHOLD
    }
    found = find_duplicates(Images(train, "train"), Images(test, "test"))
    assert found.exact == 0
    assert 30 <= found.near == len(expected)


def test_images_without_structure_are_no_near_duplicates_of_each_other() -> None:
    def flat(level: int) -> Tensor:
        return torch.full((1, 3, 32, 32), level, dtype=torch.uint8)

    noise = torch.randint(0, 2, (1, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    train = Images(torch.cat([flat(0), flat(255), clouds(3, 32, seed=5)]), "train")
    test = Images(torch.cat([flat(0), flat(1), flat(254), noise]), "test")
    found = find_duplicates(train, test)
    assert (found.exact, found.near, found.pairs) == (1, 0, ((0, 0, -1),))


def test_pictures_of_other_things_are_not_found() -> None:
    assert not find_duplicates(Images(clouds(400, 32, seed=6), "train"), Images(clouds(200, 32, seed=7), "test"))


def test_it_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = Images(clouds(10, 32, seed=8), "train"), Images(clouds(4, 32, seed=8), "test")
    first = find_duplicates(train, test)
    assert first.exact == 4
    monkeypatch.setattr("ssl_ce.data.duplicates._find", lambda *given: pytest.fail("looked again"))
    assert find_duplicates(train, test) == first
    assert isinstance(first, Duplicates)


@pytest.mark.parametrize("damaged", ["", "{}", '{"exact": 1', "[]", '{"exact": 4, "near": 0, "pairs": [[1]]}'])
def test_what_was_kept_and_is_damaged_is_found_anew(damaged: str) -> None:
    train, test = Images(clouds(10, 32, seed=8), "train"), Images(clouds(4, 32, seed=8), "test")
    first = find_duplicates(train, test)
    kept = list((cache_dir() / "duplicates").glob("*.json"))
    assert kept
    for path in kept:
        path.write_text(damaged)
    assert find_duplicates(train, test) == first
    assert first.exact == 4


def test_a_set_that_is_not_packed_is_refused() -> None:
    class Unpacked(Images):
        size = None  # type: ignore[assignment]

    pictures = clouds(2, 32, seed=9)
    with pytest.raises(UserError, match="Pack them first"):
        find_duplicates(Images(pictures, "train"), Unpacked(pictures, "test"))


def test_the_command_line_counts_and_names_them_and_a_record_keeps_the_count(
    ce: Any, photo_folder: Path, tmp_path: Path
) -> None:
    from ssl_ce.records.store import RecordStore

    photos = Path(shutil.copytree(photo_folder, tmp_path / "photos"))
    shutil.copy(photos / "train/left/03.png", photos / "test/left/01.png")
    shown = ce("data info photos").out
    assert "Of 12 test images 1 are train images too, and 0 look almost like one (at 40 x 40;" in shown
    assert "test/left/01.png is " in shown
    assert "train/left/03.png" in shown
    assert "train images too" not in ce("data info photos --no-duplicates").out
    answer = ce("evaluate knn color-histogram --data photos --no-floors")
    assert answer.code == 0, answer.err
    assert "Warning: of 12 test images of photos, 1 are train images too. See them: ce data info photos\n" in answer.out
    (record,) = RecordStore(Path("results/local")).records()
    assert record.notes["duplicates"] == {"exact": 1, "near": 0, "threshold": THRESHOLD}
    apart = ce("evaluate knn color-histogram --train photos/train --test photos/test --no-floors")
    assert "1 are train images too.\n" in apart.out, "of two folders no one REF shows them"
    assert "Warning" not in ce(f"evaluate knn color-histogram --data {photo_folder} --no-floors").out
