from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ssl_ce.errors import UserError
from ssl_ce.search import nearest

BACKENDS: tuple[Literal["faiss", "torch"], ...] = ("faiss", "torch")
METRICS: tuple[Literal["cosine", "l2"], ...] = ("cosine", "l2")


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    if request.param == "faiss":
        pytest.importorskip("faiss")
    return str(request.param)


def brute_force(
    queries: NDArray[np.float32], base: NDArray[np.float32], k: int, metric: str
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """One pair at a time in float64, sorted by score and then by index."""
    scores, places = np.empty((len(queries), k)), np.empty((len(queries), k), np.int64)
    for row, query in enumerate(queries.astype(np.float64)):
        ranked = []
        for place, vector in enumerate(base.astype(np.float64)):
            if metric == "l2":
                score = -np.square(query - vector).sum()
            else:
                lengths = np.sqrt(np.square(query).sum()) * np.sqrt(np.square(vector).sum())
                score = (query * vector).sum() / lengths if lengths > 0 else 0.0
            ranked.append((-score, place))
        best = sorted(ranked)[:k]
        scores[row], places[row] = [-score for score, _ in best], [place for _, place in best]
    return scores, places


def vectors(seed: int, count: int, dim: int = 12) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("k", [1, 5, 150])
def test_it_equals_brute_force_in_float64(backend: str, metric: str, k: int) -> None:
    queries, base = vectors(0, 20), vectors(1, 150)
    scores, places = nearest(queries, base, k, metric=metric, backend=backend, chunk=64)
    expected_scores, expected_places = brute_force(queries, base, k, metric)
    np.testing.assert_array_equal(places, expected_places)
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-12, atol=1e-14)
    assert (scores.dtype, places.dtype) == (np.float64, np.int64)


@pytest.mark.parametrize("metric", METRICS)
def test_duplicates_by_the_hundred_are_ordered_by_their_index(backend: str, metric: str) -> None:
    distinct = vectors(2, 4)
    base = distinct[np.random.default_rng(3).integers(0, 4, 400)]
    queries = np.concatenate([distinct, vectors(4, 4)])
    _, places = nearest(queries, base, 5, metric=metric, backend=backend, chunk=128)
    np.testing.assert_array_equal(places, brute_force(queries, base, 5, metric)[1])


@pytest.mark.parametrize("metric", METRICS)
def test_differences_below_float32s_precision_are_seen(backend: str, metric: str) -> None:
    """All vectors lie within float32 rounding of one another's similarity; only float64 tells them apart."""
    rng = np.random.default_rng(5)
    centre = rng.normal(size=64)
    base = (centre + 1e-6 * rng.normal(size=(300, 64))).astype(np.float32)
    queries = (centre + 1e-6 * rng.normal(size=(6, 64))).astype(np.float32)
    _, places = nearest(queries, base, 5, metric=metric, backend=backend, chunk=100)
    np.testing.assert_array_equal(places, brute_force(queries, base, 5, metric)[1])


@pytest.mark.parametrize("metric", METRICS)
def test_both_back_ends_give_the_same_bits_in_chunks_of_any_size(metric: str) -> None:
    pytest.importorskip("faiss")
    rng = np.random.default_rng(6)
    queries, base = (rng.integers(-2, 3, (count, 6)).astype(np.float32) for count in (40, 500))
    first = nearest(queries, base, 7, metric=metric, backend="faiss", chunk=500)
    second = nearest(queries, base, 7, metric=metric, backend="torch", chunk=33)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_vectors_of_different_lengths_are_one_direction_to_the_cosine(backend: str) -> None:
    base = np.array([[3, 4], [1, 0], [6, 8], [0, 0]], np.float32)
    scores, places = nearest(np.array([[30, 40], [0, 0]], np.float32), base, 4, backend=backend)
    np.testing.assert_array_equal(places, [[0, 2, 1, 3], [0, 1, 2, 3]])
    np.testing.assert_allclose(scores, [[1, 1, 0.6, 0], [0, 0, 0, 0]])


def test_a_memory_mapped_base_is_read_in_chunks(backend: str, tmp_path: Path) -> None:
    base = vectors(7, 200)
    np.save(tmp_path / "base.npy", base)
    mapped = np.load(tmp_path / "base.npy", mmap_mode="r")
    expected = nearest(base[:9], base, 3, backend=backend)
    found = nearest(mapped[:9], mapped, 3, backend=backend, chunk=50)
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_array_equal(found[1][:, 0], np.arange(9))


def test_no_queries_have_no_neighbours(backend: str) -> None:
    scores, places = nearest(vectors(8, 0), vectors(9, 10), 3, backend=backend)
    assert scores.shape == places.shape == (0, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 11}, "Choose k from 1 to 10"),
        ({"k": 0}, "Choose k from 1 to 10"),
        ({"queries": vectors(0, 2, 3)}, "Describe both alike"),
        ({"queries": np.zeros((2, 12))}, "must be float32"),
        ({"queries": np.full((2, 12), np.nan, np.float32)}, "not finite"),
        ({"metric": "manhattan"}, "'cosine' or 'l2'"),
        ({"backend": "annoy"}, "'auto', 'faiss' or 'torch'"),
    ],
)
def test_what_cannot_be_searched_is_said(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {
        "queries": vectors(0, 2),
        "base": vectors(1, 10),
        "k": 3,
        "backend": "torch",
    }
    with pytest.raises(UserError, match=message):
        nearest(**(arguments | change))  # type: ignore[arg-type]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("metric", METRICS)
def test_a_gpu_gives_the_same_bits_as_the_cpu(metric: str) -> None:
    queries, base = vectors(10, 40), vectors(11, 5000)
    first = nearest(queries, base, 7, metric=metric, backend="torch")
    second = nearest(queries, base, 7, metric=metric, backend="torch", device="cuda")
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_shorter_numbers_in_matrix_products_are_kept_out() -> None:
    """bf16 products, allowed elsewhere, would be beyond the bound on rounding: the answers would differ."""
    queries, base = vectors(12, 20, 200), vectors(13, 3000, 200)
    expected = brute_force(queries[:3], base, 5, "cosine")
    torch.set_float32_matmul_precision("medium")
    try:
        _, places = nearest(queries[:3], base, 5, backend="torch")
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    np.testing.assert_array_equal(places, expected[1])


def test_faiss_searches_on_a_gpu_where_its_gpu_build_finds_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wiring alone, with faiss's CPU search behind the name of its GPU search."""
    faiss = pytest.importorskip("faiss")
    asked: list[int] = []

    def knn_gpu(resources: object, queries: object, base: object, count: int, metric: int) -> object:
        asked.append(count)
        return faiss.knn(queries, base, count, metric=metric)

    with pytest.raises(UserError, match="Install faiss-gpu-cu12"):
        nearest(vectors(0, 2), vectors(1, 10), 3, backend="faiss", device="cuda")
    monkeypatch.setattr(faiss, "knn_gpu", knn_gpu, raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1, raising=False)
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    for metric in METRICS:
        expected = nearest(vectors(0, 9), vectors(1, 90), 3, metric=metric)
        found = nearest(vectors(0, 9), vectors(1, 90), 3, metric=metric, device="cuda")
        np.testing.assert_array_equal(found[1], expected[1])
    assert len(asked) == 2
