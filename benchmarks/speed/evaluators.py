"""Evaluators side by side with scikit-learn, in one process: the sweep over C, and nearest neighbours.

    python benchmarks/speed/evaluators.py [--size 50000x512] [--costs 45] [--limit 600] [--rounds 5]
    python benchmarks/speed/evaluators.py --only sweep --data cifar10 --out results/speed

The sweep: logistic regressions at 45 costs C, and the choice among them on held-out samples; against as many separate
fits of scikit-learn at the same tolerance. Which C each chooses and what it comes to on test samples is printed too. It
is measured once, for it takes minutes; when scikit-learn's fits have taken --limit seconds, larger costs are left out,
and the ratio is a lower bound. k-NN: against scikit-learn's brute force. Features are
made (overlapping clusters, a spectrum that falls off as those of networks do), or with --data columns of the HOG of
real images, drawn at random.
"""

from __future__ import annotations

import sys
import time
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from side_by_side import Sheet, arguments
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.neighbors import NearestNeighbors

from ssl_ce.data import DataOptions, open_set
from ssl_ce.descriptors.cache import FeatureCache
from ssl_ce.descriptors.hog import Hog
from ssl_ce.errors import UserError
from ssl_ce.evaluators.linear_probe import Costs, LinearProbeConfig
from ssl_ce.evaluators.logistic import fit_path
from ssl_ce.search import nearest

Rows = NDArray[np.float32]
Labels = NDArray[np.int64]


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=("sweep", "knn"), help="one of the two")
    parser.add_argument("--size", default="50000x512", metavar="NxD", help="samples and dimensions of the features")
    parser.add_argument("--classes", type=int, default=10, help="classes of made features")
    parser.add_argument("--costs", type=int, default=45, help="how many costs C, from 1e-6 to 1e5")
    parser.add_argument("--limit", type=float, default=600, help="CPU seconds that scikit-learn's fits may take")
    parser.add_argument("--data", help="a dataset's name or a folder with train and test; made features by default")
    options = parser.parse_args()

    count, dim = (int(number) for number in options.size.split("x"))
    sheet = Sheet("evaluators", "Evaluators beside scikit-learn", options.out)
    sample = read(options.data, count, dim) if options.data else made(count, dim, options.classes)
    sheet.note(f"{count:,} x {dim} {'features' if options.data else 'made features'}, {sample.classes} classes.")
    if options.only != "sweep":
        knn(sheet, sample, options.rounds)
    if options.only != "knn":
        sweep(sheet, sample, Costs(count=options.costs).values(), options.limit)
    sheet.write()


@dataclass(frozen=True)
class Sample:
    """Standardised features float32 (n, d) and labels int64 (n,): to fit, to choose on, to test."""

    fit: tuple[Rows, Labels]
    held_out: tuple[Rows, Labels]
    test: tuple[Rows, Labels]

    @property
    def classes(self) -> int:
        """The number of classes."""
        return int(self.fit[1].max()) + 1


def made(count: int, dim: int, classes: int) -> Sample:
    """Five overlapping clusters a class; the axes' deviations fall off as 1 / place, along directions at random."""
    generator = np.random.default_rng(0)
    total = count + count // 9 + count // 5
    labels = generator.integers(0, classes, total)
    centers = generator.normal(size=(5 * classes, dim))
    places = centers[labels * 5 + generator.integers(0, 5, total)] + 3.0 * generator.normal(size=(total, dim))
    directions = np.linalg.qr(generator.normal(size=(dim, dim)))[0]
    return _split((places / np.arange(1, dim + 1)) @ directions, labels, count, count // 9)


def read(reference: str, count: int, dim: int) -> Sample:
    """`dim` columns of the HOG (cells of 4 pixels) of `count` train images, a tenth held out, and all test images."""
    parts = []
    for split in ("train", "test"):
        images = open_set(reference, split, DataOptions(size=32, progress=True))
        parts.append((np.asarray(FeatureCache().features(Hog(cell=4), images)), images.targets()))
    generator = np.random.default_rng(0)
    (train, labels), (test, targets) = parts
    columns = generator.permutation(train.shape[1])[:dim]
    order = generator.permutation(len(train))
    fit, held_out = order[: count - count // 10], order[count - count // 10 : count]
    rows = np.concatenate([train[fit], train[held_out], test])[:, columns]
    return _split(rows, np.concatenate([labels[fit], labels[held_out], targets]), len(fit), len(held_out))


def _split(features: NDArray[np.floating], labels: Labels, fit: int, held_out: int) -> Sample:
    mean, deviation = features[:fit].mean(axis=0), features[:fit].std(axis=0)
    rows = ((features - mean) / np.where(deviation > 0, deviation, 1.0)).astype(np.float32)
    ends = (slice(0, fit), slice(fit, fit + held_out), slice(fit + held_out, None))
    return Sample(*((np.ascontiguousarray(rows[part]), labels[part]) for part in ends))


def sweep(sheet: Sheet, sample: Sample, costs: NDArray[np.float64], limit: float) -> None:
    """Ours and scikit-learn's: seconds of the processor, which other work there hardly changes, C, and accuracy."""
    tolerance = LinearProbeConfig().tolerance
    started = time.process_time()
    path = fit_path(*sample.fit, costs, classes=sample.classes, tolerance=tolerance)
    chosen = int(path.log_losses(*sample.held_out).argmin())
    own = time.process_time() - started
    right = float((path.log_probabilities(sample.test[0], chosen).argmax(axis=1) == sample.test[1]).mean())
    steps = f"{path.iterations.sum():,} steps, {path.converged.sum()} of {len(costs)} converged"
    sheet.row(_fitted("ours", own, costs[chosen], right, steps), "Sweep")

    x, y = sample.fit[0].astype(np.float64), sample.fit[1]
    held_out, tests = sample.held_out[0].astype(np.float64), sample.test[0].astype(np.float64)
    losses, models, theirs = [], [], 0.0
    for cost in costs:
        if theirs >= limit:
            break
        started = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            models.append(LogisticRegression(C=cost, tol=tolerance, max_iter=1000).fit(x, y))
        losses.append(log_loss(sample.held_out[1], models[-1].predict_proba(held_out)))
        theirs += time.process_time() - started
    best = int(np.argmin(losses))
    right = float((models[best].predict(tests) == sample.test[1]).mean())
    counts = [int(model.n_iter_[0]) for model in models]
    steps = f"{sum(counts):,} steps, {sum(count < 1000 for count in counts)} of {len(counts)} converged"
    sheet.row(_fitted("scikit-learn", theirs, costs[best], right, steps), "Sweep")
    fewer = f" at least: scikit-learn fitted the first {len(models)} costs of {len(costs)}"
    sheet.note(f"Sweep: ratio {theirs / own:.1f}{fewer if len(models) < len(costs) else ''}.")


def _fitted(who: str, taken: float, cost: float, right: float, steps: str) -> dict[str, object]:
    return {"sweep": who, "CPU seconds": taken, "C": f"{cost:.3g}", "accuracy": f"{right:.2%}", "fits": steps}


def knn(sheet: Sheet, sample: Sample, rounds: int, neighbours: int = 20) -> None:
    """The nearest by cosine of 1,000 queries."""
    queries, base = sample.test[0][:1000], sample.fit[0]
    peer = NearestNeighbors(n_neighbors=neighbours, algorithm="brute", metric="cosine").fit(base)
    theirs = peer.kneighbors(queries, return_distance=False)
    equal = float((nearest(queries, base, neighbours, metric="cosine")[1] == theirs).mean())
    what = f"k-NN, {neighbours} of {len(base):,} for {len(queries):,}"
    sides = {"ours": lambda: nearest(queries, base, neighbours), "scikit-learn": lambda: peer.kneighbors(queries)}
    sheet.compare(what, sides, rounds, target=0.95)
    sheet.note(f"k-NN: the same neighbour in {equal:.3%} of the places.")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"Error: {error}")
