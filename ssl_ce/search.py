"""Exact nearest neighbours: faiss or torch behind one function, with the same answer.

Candidates are found in float32 and ranked by float64 similarity, then by their number in the base, so ties
are settled the same way everywhere. A bound on float32's rounding error says which candidates could belong to
the answer; where more could than were fetched (many duplicates at the k-th place), all that could are looked
at.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_ce.errors import UserError

Metric = Literal["cosine", "l2"]
Backend = Literal["auto", "faiss", "torch"]
Floats = NDArray[np.float32]
Scores = NDArray[np.float64]
Places = NDArray[np.int64]
Fetch = Callable[[Floats, Floats, int, Metric], tuple[Floats, Places]]

_QUERIES_AT_ONCE = 1024
_NUMBERS_AT_ONCE, _ROWS_AT_ONCE = 1 << 25, 16_384
_SPARE = 32  # candidates fetched beyond k, before a quarter of k more
_ROUNDOFF = 2.0**-24  # of float32


def nearest(
    queries: Floats,
    base: Floats,
    k: int,
    *,
    metric: Metric = "cosine",
    backend: Backend = "auto",
    device: str = "cpu",
    chunk: int | None = None,
) -> tuple[Scores, Places]:
    """The `k` nearest rows of `base` for each query, nearest first.

    Parameters
    ----------
    queries, base
        float32 (m, d) and (n, d). Memory-mapped arrays are fine: they are read `chunk` rows at a time.
    metric
        "cosine": scores are cosine similarities in [-1, 1]; a zero vector has similarity 0 to everything.
        "l2": scores are negative squared Euclidean distances. A higher score is always nearer.
    backend
        Who finds the candidates; the answer is the same. "auto" on the CPU is faiss where it is installed, else torch;
        on a GPU faiss where its GPU build is installed, else torch.
    device
        "cpu" or "cuda": where candidates are looked for. They are ranked on the CPU.
    chunk
        Rows held in memory at once; by default as many as hold 32 million numbers, and at most 16,384.

    Returns
    -------
    scores, indices
        float64 (m, k) and int64 (m, k). Equal scores are ordered by index.

    Raises
    ------
    UserError
        If k is not in 1 ... n, dimensions differ, a vector is not finite, or faiss is asked for and missing.
    """
    _check(queries, base, k, metric)
    fetch = _backend(backend, device)
    chunk = chunk or min(_ROWS_AT_ONCE, max(1, _NUMBERS_AT_ONCE // max(1, base.shape[1])))
    lengths = _squared_lengths(queries, chunk), _squared_lengths(base, chunk)
    count = min(len(base), k + _SPARE + k // 4)
    scores, places = _candidates(fetch, queries, base, lengths, count, metric, chunk)
    order = np.argsort(-scores, axis=1, kind="stable")
    scores, places = np.take_along_axis(scores, order, 1), np.take_along_axis(places, order, 1)
    floors = scores[:, k - 1] - 2.0 * _error_bound(queries.shape[1], lengths, metric)
    short = np.flatnonzero((scores[:, -1] >= floors) & (count < len(base)))
    pools: dict[int, Places] = dict(_all_above(floors, short, queries, base, lengths, metric, chunk))
    best_scores, best_places = np.empty((len(queries), k)), np.empty((len(queries), k), np.int64)
    for row in range(len(queries)):
        pool = pools.pop(row, None)
        if pool is None:
            pool = np.sort(places[row, scores[row] >= floors[row]])
        exact = _exact(queries[row], base, pool, metric, chunk)
        first = np.argsort(-exact, kind="stable")[:k]
        best_scores[row], best_places[row] = exact[first], pool[first]
    return best_scores, best_places


def _check(queries: Floats, base: Floats, k: int, metric: str) -> None:
    if metric not in ("cosine", "l2"):
        raise UserError(f"Neighbours are searched by 'cosine' or 'l2'; '{metric}' is neither.")
    for name, vectors in (("Queries", queries), ("Base vectors", base)):
        if vectors.ndim != 2 or vectors.dtype != np.float32:
            raise UserError(
                f"{name} must be float32 of shape (count, dim); got {vectors.dtype} of shape {vectors.shape}."
            )
    if queries.shape[1] != base.shape[1]:
        raise UserError(
            f"Queries have {queries.shape[1]} dimensions, the base has {base.shape[1]}. Describe both alike."
        )
    if not 1 <= k <= len(base):
        raise UserError(f"{k} neighbours were asked for among {len(base)} vectors. Choose k from 1 to {len(base)}.")


def _backend(name: str, device: str) -> Fetch:
    installed = importlib.util.find_spec("faiss") is not None
    if name not in ("auto", "faiss", "torch"):
        raise UserError(f"The search back end is 'auto', 'faiss' or 'torch'; '{name}' is none of them.")
    if name == "faiss" and not installed:
        raise UserError("faiss is not installed. Install it (pip install faiss-cpu), or use the torch back end.")
    if name == "torch" or not installed:
        return partial(_by_torch, device=device)
    if device == "cpu":
        return _by_faiss
    if _faiss_has_a_gpu():
        return _by_faiss_on_a_gpu
    if name == "faiss":
        raise UserError("The faiss that is installed has no GPU. Install faiss-gpu-cu12, or use the torch back end.")
    return partial(_by_torch, device=device)


def _faiss_has_a_gpu() -> bool:
    import faiss

    return hasattr(faiss, "knn_gpu") and faiss.get_num_gpus() > 0


def _by_faiss(queries: Floats, base: Floats, count: int, metric: Metric) -> tuple[Floats, Places]:
    import faiss

    kind = faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2
    scores, places = faiss.knn(queries, base, count, metric=kind)
    return scores if metric == "cosine" else -scores, places


def _by_faiss_on_a_gpu(queries: Floats, base: Floats, count: int, metric: Metric) -> tuple[Floats, Places]:
    import faiss

    kind = faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2
    scores, places = faiss.knn_gpu(faiss.StandardGpuResources(), queries, base, count, metric=kind)
    return scores if metric == "cosine" else -scores, places


def _by_torch(queries: Floats, base: Floats, count: int, metric: Metric, device: str) -> tuple[Floats, Places]:
    scores, places = torch.topk(_similarities(queries, base, metric, device), count)
    return scores.cpu().numpy(), places.cpu().numpy()


def _candidates(
    fetch: Fetch,
    queries: Floats,
    base: Floats,
    lengths: tuple[Scores, Scores],
    count: int,
    metric: Metric,
    chunk: int,
) -> tuple[Floats, Places]:
    """The `count` highest float32 scores of each query and their places, unordered: (m, count) each."""
    best = np.full((len(queries), count), -np.inf, np.float32)
    places = np.full((len(queries), count), -1, np.int64)
    for start, part in _prepared(base, lengths[1], metric, chunk):
        for at, some in _prepared(queries, lengths[0], metric, _QUERIES_AT_ONCE):
            rows = slice(at, at + len(some))
            scores, found = fetch(some, part, min(count, len(part)), metric)
            all_scores = np.concatenate([best[rows], scores], 1)
            all_places = np.concatenate([places[rows], found + start], 1)
            keep = np.argpartition(-all_scores, count - 1, axis=1)[:, :count]
            best[rows] = np.take_along_axis(all_scores, keep, 1)
            places[rows] = np.take_along_axis(all_places, keep, 1)
    return best, places


def _all_above(
    floors: Scores,
    rows: Places,
    queries: Floats,
    base: Floats,
    lengths: tuple[Scores, Scores],
    metric: Metric,
    chunk: int,
) -> Iterator[tuple[int, Places]]:
    """For each of the queries `rows`, every place whose float32 score reaches its floor, in ascending
    order."""
    for at in range(0, len(rows), _QUERIES_AT_ONCE):
        some = rows[at : at + _QUERIES_AT_ONCE]
        pools: list[list[Places]] = [[] for _ in some]
        _, wanted = next(_prepared(queries[some], lengths[0][some], metric, _QUERIES_AT_ONCE))
        for start, part in _prepared(base, lengths[1], metric, chunk):
            for pool, scores, floor in zip(
                pools, _similarities(wanted, part, metric).numpy(), floors[some], strict=True
            ):
                pool.append(np.flatnonzero(scores >= floor) + start)
        yield from ((int(row), np.concatenate(pool)) for row, pool in zip(some, pools, strict=True))


def _prepared(vectors: Floats, lengths: Scores, metric: Metric, chunk: int) -> Iterator[tuple[int, Floats]]:
    """The vectors in chunks with their starts, scaled to length 1 for cosine."""
    for start in range(0, len(vectors), chunk):
        part = np.array(vectors[start : start + chunk], order="C")
        if metric == "cosine":
            length = np.sqrt(lengths[start : start + chunk, None])
            part /= np.where(length > 0, length, 1.0).astype(np.float32)
        yield start, part


def _similarities(queries: Floats, base: Floats, metric: Metric, device: str = "cpu") -> Tensor:
    """Scores of all pairs in float32, (m, n), on `device`."""
    first, second = torch.from_numpy(queries).to(device), torch.from_numpy(base).to(device)
    with _whole_float32():
        scores = first @ second.T
    if metric == "l2":
        scores = 2.0 * scores - first.square().sum(1, keepdim=True) - second.square().sum(1)
    return scores


@contextmanager
def _whole_float32() -> Iterator[None]:
    """No shorter numbers inside matrix products (TF32, bf16), whatever the process asked for: see `_error_bound`."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _error_bound(dim: int, lengths: tuple[Scores, Scores], metric: Metric) -> Scores:
    """How far a float32 score can be from the true one, for each query (Higham, "Accuracy and Stability",
    3.1)."""
    share = (dim + 8) * _ROUNDOFF
    if metric == "cosine":
        return np.full(len(lengths[0]), share)
    bound: Scores = 2.0 * share * (np.sqrt(lengths[0]) + np.sqrt(lengths[1].max())) ** 2
    return bound


def _squared_lengths(vectors: Floats, chunk: int) -> Scores:
    lengths = np.empty(len(vectors))
    for start in range(0, len(vectors), chunk):
        part = vectors[start : start + chunk].astype(np.float64)
        lengths[start : start + chunk] = _dots(part, part)
    if not np.isfinite(lengths).all():
        raise UserError(f"Vector {int(np.flatnonzero(~np.isfinite(lengths))[0])} holds a value that is not finite.")
    return lengths


def _exact(query: Floats, base: Floats, places: Places, metric: Metric, chunk: int) -> Scores:
    """float64 scores of one query with some rows of the base. Equal rows have equal scores to the last
    bit."""
    one = query.astype(np.float64)[None]
    length = np.sqrt(_dots(one, one))
    scores = []
    for at in range(0, len(places), chunk):
        rows = base[places[at : at + chunk]].astype(np.float64)
        if metric == "l2":
            scores.append(-_dots(rows - one, rows - one))
        else:
            scale = length * np.sqrt(_dots(rows, rows))
            scores.append(_dots(rows, one) / np.where(scale > 0, scale, 1.0))
    return np.concatenate(scores)


def _dots(first: Scores, second: Scores) -> Scores:
    """Row by row, summed in one order whatever stands beside a row (which a matrix product does not
    promise)."""
    result: Scores = np.multiply(first, second).sum(axis=1)
    return result
