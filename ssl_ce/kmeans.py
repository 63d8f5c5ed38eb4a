"""K-means: Lloyd's algorithm by faiss or scikit-learn behind one function, from the same starting points."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ssl_ce.errors import UserError
from ssl_ce.search import nearest
from ssl_ce.seeds import derive_seed

Backend = Literal["faiss", "scikit-learn"]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Clusters:
    """One clustering: the cluster of each vector, int64 (n,), and the summed squared distances to their centres."""

    labels: NDArray[np.int64]
    inertia: float


def default_backend() -> Backend:
    """faiss where it is installed, else scikit-learn."""
    return "faiss" if importlib.util.find_spec("faiss") is not None else "scikit-learn"


def kmeans(
    vectors: Floats,
    clusters: int,
    *,
    seed: int,
    restarts: int = 10,
    iterations: int = 100,
    backend: Backend | None = None,
) -> Iterator[Clusters]:
    """`restarts` clusterings, each from starting points of its own.

    Parameters
    ----------
    vectors
        float32 (n, d), contiguous.
    seed
        Decides the starting points, which are drawn by k-means++ (Arthur and Vassilvitskii, 2007).
    iterations
        Lloyd's steps at most; it ends where no step makes it better.
    backend
        Who makes the steps; None is `default_backend()`. Both sum in float32, so a vector that lies between two
        clusters may end in another. Vectors are given to their centre exactly, and distances are summed in float64.

    Raises
    ------
    UserError
        If there are fewer different vectors than clusters, or faiss is asked for and missing.
    """
    distinct = _distinct(vectors, clusters)
    if distinct < clusters:
        raise UserError(f"{clusters} clusters cannot be made of {distinct} different vectors among {len(vectors)}.")
    backend = backend or default_backend()
    if backend == "faiss" and default_backend() != "faiss":
        raise UserError("faiss is not installed. Install it (pip install faiss-cpu), or use scikit-learn.")
    step = _by_faiss if backend == "faiss" else _by_sklearn
    for restart in range(restarts):
        centres = step(vectors, _starts(vectors, clusters, derive_seed(seed, f"k-means {restart}")), iterations)
        scores, places = nearest(vectors, centres, 1, metric="l2")
        yield Clusters(places[:, 0], float(-scores.sum()))


def _distinct(vectors: Floats, enough: int) -> int:
    """How many different rows there are, counted up to `enough`."""
    seen: set[bytes] = set()
    for row in vectors:
        seen.add(row.tobytes())
        if len(seen) == enough:
            break
    return len(seen)


def _starts(vectors: Floats, clusters: int, seed: int) -> Floats:
    from sklearn.cluster import kmeans_plusplus

    centres: Floats = kmeans_plusplus(vectors, clusters, random_state=seed % 2**32)[0]
    return centres


def _by_faiss(vectors: Floats, centres: Floats, iterations: int) -> Floats:
    import faiss

    # It would draw 256 vectors a cluster, and warn below 39.
    found = faiss.Kmeans(
        vectors.shape[1],
        len(centres),
        niter=iterations,
        min_points_per_centroid=1,
        max_points_per_centroid=len(vectors),
    )
    found.train(vectors, init_centroids=centres)
    return np.asarray(found.centroids)


def _by_sklearn(vectors: Floats, centres: Floats, iterations: int) -> Floats:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it stopped at `iterations`, as it was told to
        found = KMeans(len(centres), init=centres, n_init=1, max_iter=iterations, tol=0).fit(vectors)
    result: Floats = found.cluster_centers_
    return result
