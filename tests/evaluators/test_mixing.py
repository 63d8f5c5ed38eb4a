"""Whether holes mix classes, against counts over label maps that are written here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_ce.data import DataOptions, open_set
from ssl_ce.data.packing import PackedImages
from ssl_ce.evaluators.mixing import mixes

# Numbers under a hole of 100 pixels: (class, how often), and whether it mixes classes. 9 is void.
CASES = [
    ([(3, 100)], 0.0),
    ([(3, 90), (4, 10)], 0.0),
    ([(3, 89), (4, 11)], 1.0),
    ([(3, 50), (4, 50)], 1.0),
    ([(3, 50), (9, 50)], 0.0),
    ([(3, 49), (9, 51)], np.nan),
    ([(3, 54), (4, 6), (9, 40)], 0.0),
    ([(3, 53), (4, 7), (9, 40)], 1.0),
    ([(9, 100)], np.nan),
]


@pytest.fixture
def images(tmp_path: Path) -> PackedImages:
    """One image of 20 x 20 pixels for each case, all 7 outside of the hole in its centre."""
    for folder in ("photo", "label"):
        (tmp_path / folder).mkdir()
    for number, (counts, _) in enumerate(CASES):
        labels = np.full((20, 20), 7, dtype=np.uint8)
        labels[5:15, 5:15] = np.concatenate([np.full(count, value) for value, count in counts]).reshape(10, 10)
        Image.fromarray(labels).save(tmp_path / "label" / f"{number}.png")
        Image.new("RGB", (20, 20)).save(tmp_path / "photo" / f"{number}.png")
    (tmp_path / "classes.json").write_text('{"3": "sky", "4": "tree", "9": "void"}')
    return open_set(str(tmp_path), "all", DataOptions(size=20, cache=tmp_path / "packed"))


def centre(count: int) -> torch.Tensor:
    holes = torch.zeros(count, 1, 20, 20, dtype=torch.bool)
    holes[..., 5:15, 5:15] = True
    return holes


def test_a_hole_mixes_classes_where_none_covers_nine_tenths_of_what_is_labelled(images: PackedImages) -> None:
    found = mixes(images, torch.arange(len(CASES)), centre(len(CASES)))
    assert found is not None
    np.testing.assert_array_equal(found, [expected for _, expected in CASES])
    some = mixes(images.subset([2, 0], "part"), torch.tensor([1, 0]), centre(2))
    assert some is not None
    assert some.tolist() == [0.0, 1.0]


def test_a_map_that_cannot_be_read_leaves_it_unknown(images: PackedImages, tmp_path: Path) -> None:
    (tmp_path / "label" / "1.png").write_text("broken")
    found = mixes(images, torch.arange(3), centre(3))
    assert found is not None
    np.testing.assert_array_equal(found, [0.0, np.nan, 1.0])


def test_without_label_maps_there_is_no_answer(images: PackedImages, digits_test: PackedImages, tmp_path: Path) -> None:
    assert mixes(digits_test, torch.arange(1), torch.ones(1, 1, 32, 32, dtype=torch.bool)) is None
    Image.new("RGB", (20, 20)).save(tmp_path / "label" / "0.png")
    assert mixes(images, torch.arange(1), centre(1)) is None
