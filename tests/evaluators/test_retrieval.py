"""Context retrieval against scikit-learn, NumPy loops and definitions."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from sklearn.neighbors import NearestNeighbors

from ssl_ce.data.imageset import ImageSet
from ssl_ce.data.packing import PackedImages
from ssl_ce.descriptors import load_descriptor
from ssl_ce.errors import UserError
from ssl_ce.evaluators.base import Env, EvaluationData
from ssl_ce.evaluators.retrieval import Retrieval, RetrievalConfig, truncated_average_precision
from ssl_ce.records.record import Record


@pytest.fixture
def data(digits_train: PackedImages, digits_test: PackedImages) -> EvaluationData:
    return EvaluationData(digits_test.subset(range(30), "test"), digits_train.subset(range(200), "train"))


def judged(data: EvaluationData, subject: str = "pixels", **settings: object) -> tuple[Retrieval, list[Record]]:
    evaluator = Retrieval(RetrievalConfig.model_validate({"holes": ("center",), **settings}))
    found = evaluator.resolve(subject, data, torch.device("cpu"))
    evaluator.check(found, data)
    return evaluator, list(evaluator.run(found, data, Env()))


def searched(data: EvaluationData) -> ImageSet:
    assert data.train is not None
    return data.train


def test_average_precision_is_scikit_learns_where_the_whole_ranking_is_seen():
    generator = np.random.default_rng(0)
    relevant = generator.random((20, 50)) < 0.3
    relevant[0] = False
    scores = -np.arange(50.0)
    expected = [average_precision_score(row, scores) if row.any() else 0.0 for row in relevant]
    assert truncated_average_precision(relevant, relevant.sum(1)) == pytest.approx(np.array(expected))


def test_at_a_depth_it_is_the_sum_of_the_definition():
    relevant = np.array([[True, False, True, False]])
    assert truncated_average_precision(relevant, np.array([10])) == pytest.approx([(1 / 1 + 2 / 3) / 4])
    assert truncated_average_precision(relevant, np.array([2])) == pytest.approx([(1 / 1 + 2 / 3) / 2])


def test_precision_and_agreement_are_those_of_scikit_learns_neighbours(data: EvaluationData):
    evaluator, (record,) = judged(data)
    assert record.outcomes is not None
    train, test = searched(data), data.test
    hole = evaluator.holes("center", torch.arange(30), 0, test)
    descriptor = load_descriptor("pixels")
    contexts = descriptor.describe(test.read(range(30)), hole).numpy()
    base = descriptor.describe(train.read(range(200)), hole[:1].expand(200, -1, -1, -1)).numpy()
    search = NearestNeighbors(n_neighbors=10, metric="cosine", algorithm="brute")
    found = search.fit(base).kneighbors(contexts, return_distance=False)
    right = train.targets()[found] == test.targets()[:, None]
    for k in (1, 5, 10):
        assert record.outcomes[f"precision_k{k}"] == pytest.approx(right[:, :k].mean(1))
    whole_base = descriptor.describe(train.read(range(200))).numpy()
    whole = search.fit(whole_base).kneighbors(descriptor.describe(test.read(range(30))).numpy(), return_distance=False)
    agreement = [len(set(a) & set(b)) / 10 for a, b in zip(found, whole, strict=True)]
    assert record.outcomes["agreement_k10"] == pytest.approx(agreement)
    assert record.metrics["precision_k1"].value > 0.3  # ten classes: chance is 0.1


def test_what_is_under_a_hole_finds_nothing(data: EvaluationData, digits_test: PackedImages):
    evaluator, _ = judged(data, "hog")

    class Altered:
        def __getattr__(self, name: str) -> object:
            return getattr(data.test, name)

        def __len__(self) -> int:
            return len(data.test)

        def read(self, indices: object) -> torch.Tensor:
            images = data.test.read(indices)  # type: ignore[arg-type]
            hole = evaluator.holes("center", torch.arange(1), 0, data.test)
            return torch.where(hole, 255 - images, images)

    descriptor = evaluator.resolve("hog", data, torch.device("cpu"))
    altered = EvaluationData(Altered(), data.train)  # type: ignore[arg-type]
    indices = torch.arange(30)
    found = [evaluator.neighbours(descriptor, "center", one, Env(), indices, 5) for one in (data, altered)]  # type: ignore[arg-type]
    assert (found[0] == found[1]).all()


def test_images_that_equal_the_query_are_left_out_and_counted(digits_train: PackedImages):
    same = digits_train.subset(range(150), "train")
    twice = digits_train.subset([*range(150), *range(10)], "train")
    _, (record,) = judged(EvaluationData(same, twice), depth=20)
    assert record.notes["images left out because they equal the query"] == 160
    assert record.outcomes is not None
    assert max(record.outcomes["precision_k1"]) <= 1.0
    _, (other,) = judged(EvaluationData(same, digits_train.subset(range(150, 300), "train")), depth=20)
    assert other.notes["images left out because they equal the query"] == 0


def test_described_whole_the_index_is_one_for_all_masks(data: EvaluationData):
    bank, full = (judged(data, index=index, holes=("random-block",))[1][0] for index in ("bank", "full"))
    assert full.variant == {"holes": "random-block", "index": "full"}
    assert bank.variant == {"holes": "random-block"}
    assert full.metrics["precision_k10"].value != bank.metrics["precision_k10"].value


def test_without_labels_there_is_agreement_only(photo_folder, tmp_path):
    from ssl_ce.data import DataOptions, open_set

    flat = tmp_path / "flat"
    flat.mkdir()
    for path in photo_folder.rglob("*.png"):
        (flat / f"{path.parent.parent.name}-{path.parent.name}-{path.name}").write_bytes(path.read_bytes())
    sets = [open_set(str(flat), split, DataOptions(size=32)) for split in ("test", "train")]
    _, (record,) = judged(EvaluationData(*sets), depth=8, neighbours=(2, 4))
    assert list(record.metrics) == ["agreement_k4"]


@pytest.mark.parametrize(
    ("there", "works"),
    [
        (50, {"depth": 49}),
        (7, {"depth": 6, "neighbours": [1, 5]}),
    ],
)
def test_too_few_images_to_search_are_refused_with_what_works(
    data: EvaluationData, digits_train: PackedImages, there: int, works: dict[str, object]
):
    few = EvaluationData(data.test, digits_train.subset(range(there), "train"))
    with pytest.raises(UserError, match=f"has {there} images to search") as refused:
        judged(few)
    told = [word.strip("'.") for word in str(refused.value).split("--set ")[1:]]
    assert [word.strip().strip("'") for word in told] == [
        f"{name}={value}".replace(" ", "") for name, value in works.items()
    ]
    judged(few, **works)


def test_a_query_that_is_there_more_than_once_is_counted_before_the_search(digits_train: PackedImages):
    same = digits_train.subset(range(20), "train")
    twice = EvaluationData(same, digits_train.subset([*range(20), 0], "train"))
    with pytest.raises(UserError, match="Give more, or --set depth=19"):
        judged(twice, depth=20)
    _, (record,) = judged(twice, depth=19)
    assert record.notes["images left out because they equal the query"] == 21


def test_the_command_prints_a_table_and_draws_panels(ce, digits_train: PackedImages):
    from pathlib import Path

    from PIL import Image

    line = "evaluate retrieval hog --test 'digits?count=20' --index 'digits?count=120' --holes center --panels 3"
    answer = ce(f"{line} --results out --set bank=2")
    assert answer.code == 0, answer.err
    assert "retrieval@1 · digits/test · holes: center" in answer.out
    assert "precision_k1 (%)" in answer.out
    assert "Picture: out/retrieval-center.png" in answer.out
    assert Image.open(Path("out/retrieval-center.png")).width > 300
