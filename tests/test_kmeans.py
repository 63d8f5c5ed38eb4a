from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

from ssl_ce.errors import UserError
from ssl_ce.kmeans import default_backend, kmeans

BACKENDS = ["faiss", "scikit-learn"]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Any:
    if request.param == "faiss":
        pytest.importorskip("faiss")
    return request.param


def blobs(count: int = 300, dim: int = 5, distance: float = 3.0) -> np.ndarray:
    generator = np.random.default_rng(0)
    centres = distance * generator.standard_normal((4, dim))
    return (centres[generator.integers(0, 4, count)] + generator.standard_normal((count, dim))).astype(np.float32)


def test_each_clustering_is_one_that_a_lloyd_step_by_hand_leaves_alone(backend: Any) -> None:
    vectors = blobs()
    for found in kmeans(vectors, 4, seed=0, restarts=3, backend=backend):
        centres = np.stack([vectors[found.labels == number].astype(np.float64).mean(axis=0) for number in range(4)])
        squares = ((vectors[:, None].astype(np.float64) - centres) ** 2).sum(axis=2)
        np.testing.assert_array_equal(squares.argmin(axis=1), found.labels)
        assert found.inertia == pytest.approx(squares.min(axis=1).sum(), rel=1e-5)


def test_few_vectors_are_clustered_as_well_as_any_partition_of_them(backend: Any) -> None:
    vectors = blobs(9, 2, distance=1.0)
    best = np.inf
    for number in range(1, 2**8):  # every way to part nine vectors in two
        side = np.array([number >> bit & 1 for bit in range(9)], dtype=bool)
        parts = (vectors[side].astype(np.float64), vectors[~side].astype(np.float64))
        best = min(best, sum(((part - part.mean(axis=0)) ** 2).sum() for part in parts))
    assert min(found.inertia for found in kmeans(vectors, 2, seed=0, backend=backend)) == pytest.approx(best, rel=1e-5)


def test_both_back_ends_make_the_same_clusters_of_the_same_starts() -> None:
    pytest.importorskip("faiss")
    vectors = blobs(distance=1.5)
    faiss, sklearn = (list(kmeans(vectors, 4, seed=1, backend=backend)) for backend in BACKENDS)  # type: ignore[arg-type]
    assert len({round(one.inertia, 3) for one in faiss}) > 1  # some starts end elsewhere
    for first, second in zip(faiss, sklearn, strict=True):
        np.testing.assert_array_equal(first.labels, second.labels)
        assert first.inertia == pytest.approx(second.inertia, rel=1e-6)


def test_the_seed_decides_and_restarts_differ(backend: Any) -> None:
    vectors = np.random.default_rng(0).standard_normal((200, 6)).astype(np.float32)
    first, again, other = (
        [one.inertia for one in kmeans(vectors, 6, seed=seed, backend=backend)] for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other
    assert len(first) == 10
    assert len(set(first)) > 1


def test_all_vectors_are_used_and_nothing_is_printed(backend: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """faiss alone draws 256 vectors for each cluster and warns of fewer than 39."""
    vectors = blobs(2000, 3)
    (found,) = kmeans(vectors, 2, seed=0, restarts=1, backend=backend)
    centres = np.stack([vectors[found.labels == number].mean(axis=0) for number in range(2)])
    assert ((vectors[:, None] - centres) ** 2).sum(axis=2).min(axis=1).sum() == pytest.approx(found.inertia, rel=1e-5)
    list(kmeans(vectors[:12], 4, seed=0, iterations=1, backend=backend))
    assert capfd.readouterr() == ("", "")


def test_as_many_clusters_as_different_vectors_are_made_and_no_more(backend: Any) -> None:
    vectors = np.repeat(np.eye(3, dtype=np.float32), 5, axis=0)
    (found,) = kmeans(vectors, 3, seed=0, restarts=1, backend=backend)
    assert found.inertia == 0
    assert sorted(np.bincount(found.labels)) == [5, 5, 5]
    with pytest.raises(UserError, match="4 clusters cannot be made of 3 different vectors among 15"):
        list(kmeans(vectors, 4, seed=0, backend=backend))


def test_without_faiss_scikit_learn_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert default_backend() == "scikit-learn"
    assert len(list(kmeans(blobs(), 4, seed=0, restarts=2))) == 2
    with pytest.raises(UserError, match="faiss is not installed"):
        list(kmeans(blobs(), 4, seed=0, backend="faiss"))
