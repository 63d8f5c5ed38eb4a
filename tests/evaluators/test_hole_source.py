"""Holes from mask images: matched by name or drawn, against the pixels of the files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ssl_ce.data import DataOptions, open_set
from ssl_ce.data.packing import PackedImages
from ssl_ce.errors import UserError
from ssl_ce.evaluators.base import Env, EvaluationData
from ssl_ce.evaluators.hole_source import check_holes, open_holes
from ssl_ce.evaluators.inpainting import (
    Inpainting,
    InpaintingConfig,
    NearestInpainting,
    NearestInpaintingConfig,
)
from ssl_ce.evaluators.judge import judge
from ssl_ce.evaluators.retrieval import Retrieval, RetrievalConfig
from ssl_ce.holes import bank_of, draw
from ssl_ce.randomness import sample_keys
from ssl_ce.records.record import Record

SIDE = 16


def box(number: int, side: int = SIDE) -> np.ndarray:
    """A mask of 4 x 4 pixels at a place of its own for each of 64 numbers."""
    mask = np.zeros((side, side), dtype=np.uint8)
    row, column = divmod(number % 64, 8)
    mask[row + 1 : row + 5, column + 1 : column + 5] = 255
    return mask


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """photos/train/ (20) and photos/test/ (8) of 16 x 16 pixels; masks/, one for each test image; many/, 30 others."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 8)):
        for number in range(count):
            save(
                tmp_path / "photos" / split / f"{number:02d}.bmp", generator.integers(0, 255, (SIDE, SIDE, 3), np.uint8)
            )
    for number in range(8):
        save(tmp_path / "masks" / f"{number:02d}.png", box(number))
    for number in range(30):
        save(tmp_path / "many" / f"mask-{number:02d}.png", box(number))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def data(root: Path) -> EvaluationData:
    options = DataOptions(size=SIDE, cache=root / "packed")
    return EvaluationData(*(open_set("photos", split, options) for split in ("test", "train")))


def boxes(numbers: list[int]) -> Tensor:
    return torch.from_numpy(np.stack([box(number) for number in numbers])[:, None] > 0)


def numbers_of(holes: Tensor, count: int = 30) -> list[int]:
    """Which boxes these are."""
    return [next(i for i in range(count) if torch.equal(hole, boxes([i])[0])) for hole in holes]


def records_of(evaluator: Inpainting | Retrieval, subject: str, data: EvaluationData) -> list[Record]:
    return judge(evaluator, [subject], data, Env(), lambda record: None)


def test_a_strategy_is_drawn_as_it_always_was(data: EvaluationData) -> None:
    indices = torch.tensor([5, 0, 2])
    source = open_holes("random-block", {"most": 0.2}, data.test)
    keys = sample_keys(3, 0, indices, "evaluation hole")
    assert torch.equal(source.each(indices, 3), draw("random-block", keys, SIDE, SIDE, {"most": 0.2}))
    bank = bank_of("random-block", indices, 4, 3, SIDE, SIDE, {"most": 0.2})
    assert torch.equal(source.banked(indices, 3, 4, whole=False), bank)
    assert (source.variant, source.identity) == ({"holes": "random-block"}, "")


def test_masks_of_the_images_names_go_by_name(data: EvaluationData) -> None:
    source = open_holes("masks/", {}, data.test)
    indices = torch.tensor([6, 1, 3])
    assert torch.equal(source.each(indices, 0), boxes([6, 1, 3]))
    assert torch.equal(source.each(indices, 1), boxes([6, 1, 3]))
    assert source.variant == {"holes": "masks/", "masks": f"by name ({source.identity[:6]})"}


def test_they_follow_a_part_of_the_images(data: EvaluationData) -> None:
    assert isinstance(data.test, PackedImages)
    part = data.test.subset([7, 2, 5], "part")
    assert torch.equal(open_holes("masks", {}, part).each(torch.arange(3), 0), boxes([7, 2, 5]))


def test_other_masks_are_drawn_by_seed_and_image_number(data: EvaluationData) -> None:
    source = open_holes("many", {}, data.test)
    indices = torch.arange(200)
    drawn = numbers_of(source.each(indices, 0))
    assert len(set(drawn)) > 25
    assert numbers_of(source.each(torch.tensor([150, 3]), 0)) == [drawn[150], drawn[3]]
    assert numbers_of(source.each(indices, 1)) != drawn
    assert source.variant == {"holes": "many", "masks": f"drawn from 30 ({source.identity[:6]})"}


def test_a_bank_is_a_few_masks_of_the_folder(data: EvaluationData) -> None:
    source = open_holes("many", {}, data.test)
    indices = torch.arange(200)
    given = numbers_of(source.banked(indices, 0, 4, whole=False))
    assert len(set(given)) == 4
    assert numbers_of(source.banked(indices[150:], 0, 4, whole=True)) == given[150:]
    assert set(numbers_of(source.banked(indices, 1, 4, whole=False))) != set(given)
    assert len(set(numbers_of(source.banked(indices, 0, 16, whole=False)))) == 16


def test_one_mask_image_is_everybodys_hole(data: EvaluationData) -> None:
    source = open_holes("many/mask-04.png", {}, data.test)
    assert torch.equal(source.each(torch.arange(5), 7), boxes([4] * 5))
    assert torch.equal(source.banked(torch.arange(5), 7, 4, whole=False), boxes([4] * 5))
    assert source.variant["masks"].startswith("one for all (")


def test_how_masks_are_matched_can_be_said(root: Path, data: EvaluationData) -> None:
    drawn = open_holes("masks", {"match": "seed"}, data.test)
    assert numbers_of(drawn.each(torch.arange(100), 0)) != list(range(100))
    assert drawn.variant["masks"].startswith("drawn from 8 (")
    assert torch.equal(
        open_holes("masks", {"match": "name"}, data.test).each(torch.arange(8), 0), boxes(list(range(8)))
    )
    (root / "masks" / "03.png").unlink()
    with pytest.raises(
        UserError, match=r"^7 of 8 test images have a mask of their name in masks; .*03\.bmp has none\."
    ):
        open_holes("masks", {}, data.test)
    with pytest.raises(UserError, match="7 of 8 test images"):
        open_holes("masks", {"match": "name"}, data.test)
    assert len(open_holes("masks", {"match": "seed"}, data.test).each(torch.arange(8), 0)) == 8
    with pytest.raises(UserError, match="0 of 8 test images"):
        open_holes("many", {"match": "name"}, data.test)


def test_images_without_names_draw_their_masks(root: Path, digits_test: PackedImages) -> None:
    assert open_holes("masks", {}, digits_test).variant["masks"].startswith("drawn from 8")
    with pytest.raises(UserError, match="the names of digits's images are not known"):
        open_holes("masks", {"match": "name"}, digits_test)


def test_changed_masks_are_other_masks(root: Path, data: EvaluationData) -> None:
    before = open_holes("masks", {}, data.test)
    assert open_holes("masks", {}, data.test).identity == before.identity
    save(root / "masks" / "03.png", box(40))
    after = open_holes("masks", {}, data.test)
    assert after.identity != before.identity
    assert torch.equal(after.each(torch.tensor([3]), 0), boxes([40]))


def test_a_mask_becomes_a_square_as_its_image_does(root: Path) -> None:
    wide = np.zeros((SIDE, 2 * SIDE, 3), dtype=np.uint8)
    wide[4:8, 12:20] = 255
    for number in range(4):
        save(root / "wide" / f"{number}.bmp", wide)
        save(root / "wide-masks" / f"{number}.png", wide[..., 0])
    for fit in ("crop", "squash", "pad"):
        options = DataOptions(size=SIDE, cache=root / "packed", fit=fit)  # type: ignore[arg-type]
        images = open_set("wide", "all", options)
        holes = open_holes("wide-masks", {}, images).each(torch.arange(4), 0)
        white = images.read(range(4))[:, :1] > 127
        assert (holes == white).float().mean() > 0.95
        assert holes.any()


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("centre", {}, "Did you mean center"),
        ("centre", {}, "no folder of masks of that name"),
        ("./center", {}, r"There is no folder of masks or mask image \./center"),
        ("masks/77.png", {}, r"There is no folder of masks or mask image masks/77\.png"),
        ("empty", {}, "No mask images in empty"),
        ("masks", {"side": 0.5}, "no option of the masks masks named 'side'. Known: match"),
        ("masks", {"match": "names"}, "no match of the masks masks named 'names'. Did you mean name"),
        ("masks/00.png", {"match": "name"}, "one mask for all images"),
        ("twice", {}, r"told apart by name: both a/00\.png and b/00\.png have the name of .*00\.bmp\..*match=seed"),
        ("broken", {}, r"The mask broken/1\.png cannot be read: not an image"),
        ("black", {}, r"The mask black/1\.png leaves nothing missing"),
        ("white", {}, r"The mask white/1\.png leaves everything missing"),
        ("large", {}, r"00\.png is 20 x 20 pixels, and its image .*00\.bmp is 16 x 16, packed.*options\.match=seed"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_anything_is_filled(
    root: Path, data: EvaluationData, name: str, options: dict[str, object], words: str
) -> None:
    (root / "empty").mkdir()
    (root / "broken").mkdir()
    (root / "broken" / "1.png").write_text("no image")
    save(root / "black" / "1.png", np.zeros((SIDE, SIDE), dtype=np.uint8))
    save(root / "white" / "1.png", np.full((SIDE, SIDE), 255, dtype=np.uint8))
    for place in "ab":
        save(root / "twice" / place / "00.png", box(0))
    for number in range(8):
        save(root / "large" / f"{number:02d}.png", box(number, 20))

    class Untouched:
        name = identity = "untouched"

        def fill(self, images: Tensor, holes: Tensor) -> Tensor:
            raise AssertionError("filled before everything was checked")

        def state_hash(self) -> str:
            return ""

    with pytest.raises(UserError, match=words) as caught:
        Inpainting(InpaintingConfig(holes=(name,), options=options)).check(Untouched(), data)
    assert "\n" not in str(caught.value)


def test_a_strategys_name_wins_over_a_folder(root: Path, data: EvaluationData) -> None:
    (root / "masks").rename(root / "center")
    check_holes(["./center"], {})
    assert open_holes("center", {}, data.test).variant == {"holes": "center"}
    assert open_holes("./center", {}, data.test).variant["masks"].startswith("by name")


def test_the_masks_are_scored_and_stand_in_the_record(root: Path, data: EvaluationData) -> None:
    evaluator = Inpainting(InpaintingConfig(holes=("masks", "center")))
    record, other = records_of(evaluator, "mean-color", data)
    truth = data.test.read(range(8)).double() / 255
    l1 = []
    for image, hole in zip(truth, boxes(list(range(8))), strict=True):
        context = image[:, ~hole[0]] * 255
        mean = context.mean(1).round() / 255
        l1.append((image[:, hole[0]] - mean[:, None]).abs().mean().item())
    assert record.outcomes is not None
    assert record.outcomes["l1"] == pytest.approx(l1)
    assert record.variant["holes"] == "masks"
    assert record.variant["masks"].startswith("by name (")
    assert other.variant == {"holes": "center"}
    save(root / "masks" / "03.png", box(40))
    changed = records_of(evaluator, "mean-color", data)[0]
    assert (changed.id, changed.cell) != (record.id, record.cell)
    assert changed.cell == record.cell


@pytest.mark.parametrize("evaluator", ["nn-inpainting", "retrieval"])
def test_masks_by_name_are_searched_in_an_index_of_whole_images_only(data: EvaluationData, evaluator: str) -> None:
    def made(**settings: object) -> Inpainting | Retrieval:
        if evaluator == "retrieval":
            given = {"holes": ("masks",), "depth": 5, "neighbours": (1, 5), **settings}
            return Retrieval(RetrievalConfig.model_validate(given))
        return NearestInpainting(NearestInpaintingConfig.model_validate({"holes": ("masks",), **settings}))

    subject = "pixels" if evaluator == "retrieval" else "nearest:pixels"
    with pytest.raises(UserError, match=r"give every image its own hole.*--set index=full.*--set options\.match=seed"):
        records_of(made(), subject, data)
    (banked,) = records_of(made(options={"match": "seed"}), subject, data)
    assert banked.variant["masks"].startswith("drawn from 8 (")
    whole = made(index="full")
    assert torch.equal(whole.holes("masks", torch.arange(8), 0, data.test), boxes(list(range(8))))
    (own,) = records_of(whole, subject if evaluator == "retrieval" else "nearest?index=full:pixels", data)
    assert own.variant["masks"].startswith("by name (")


def test_queries_under_holes_of_their_own_find_what_a_search_by_hand_finds(data: EvaluationData) -> None:
    from ssl_ce.descriptors import load_descriptor

    evaluator = Retrieval(RetrievalConfig(holes=("masks",), index="full"))
    pixels = load_descriptor("pixels")
    assert data.train is not None
    indices = torch.tensor([4, 1])
    found = evaluator.neighbours(pixels, "masks", data, Env(), indices, 3)
    base = pixels.describe(data.train.read(range(20))).double()
    for row, index in enumerate(indices.tolist()):
        query = pixels.describe(data.test.read([index]), boxes([index])).double()[0]
        similarity = (base @ query) / (base.norm(dim=1) * query.norm())
        assert found[row].tolist() == similarity.argsort(descending=True)[:3].tolist()


def test_the_commands_take_masks(ce, root: Path) -> None:
    answer = ce(
        "evaluate inpainting mean-color --test photos --holes masks --holes center --no-floors --size 16 --results r"
    )
    assert answer.code == 0, answer.err
    assert "inpainting@1 · photos/test · holes: masks · masks: by name (" in answer.out
    line = (
        "evaluate retrieval pixels --data photos --holes many/ --set depth=5 --set neighbours=[1] --size 16 --results r"
    )
    answer = ce(f"{line} --no-floors --panels 1")
    assert answer.code == 0, answer.err
    assert "Picture: r/retrieval-many.png" in answer.out
    answer = ce("evaluate nn-inpainting hog --data photos --holes masks --size 16 --results r")
    assert answer.code == 2
    assert "--set index=full" in answer.err


def test_options_go_to_those_that_take_them_and_must_be_taken_by_one(root: Path, data: EvaluationData) -> None:
    options = {"side": 0.25, "match": "seed"}
    check_holes(["center", str(root / "masks")], options)
    assert open_holes("center", options, data.test).each(torch.arange(1), 0).float().mean() == pytest.approx(1 / 16)
    assert "drawn" in open_holes(str(root / "masks"), options, data.test).variant["masks"]
    with pytest.raises(UserError, match="center has none"):
        check_holes(["center"], {"match": "seed"})
    with pytest.raises(UserError, match="option of the masks"):
        check_holes([str(root / "masks")], {"side": 0.25})
