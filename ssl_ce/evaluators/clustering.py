"""`clustering@1`: k-means on the features of the test images alone, beside their classes.

NMI, ARI, and accuracy by matching clusters to classes (Kuhn, 1955), as in SCAN (Van Gansbeke et al., ECCV 2020).
Features are L2-normalised. There are as many clusters as classes are declared; labels are looked at once the clusters
are made.
"""

from __future__ import annotations

import time
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from ssl_ce.errors import UserError
from ssl_ce.evaluators.base import Env, EvaluationData, Needs, Subject
from ssl_ce.evaluators.draws import spread_of
from ssl_ce.evaluators.encoding import encode, unit_rows
from ssl_ce.evaluators.frozen import FrozenEvaluator
from ssl_ce.evaluators.recording import departures, make_record
from ssl_ce.kmeans import default_backend, kmeans
from ssl_ce.records.record import Metric, Record
from ssl_ce.settings import Settings


class ClusteringConfig(Settings):
    """Constants of the protocol.

    Attributes
    ----------
    restarts
        Starts of k-means; the clustering of the least inertia is reported.
    iterations
        Lloyd's steps at most, of each start.
    """

    restarts: PositiveInt = 10
    iterations: PositiveInt = 100


class Clustering(FrozenEvaluator):
    """Judges a descriptor by the clusters that its features fall into: `nmi`, `ari`, `accuracy`, `nmi_sd`."""

    name: ClassVar[str] = "clustering"
    Config: ClassVar[type[Settings]] = ClusteringConfig
    needs: ClassVar[Needs] = Needs("encode", task="classes")
    metrics: ClassVar[tuple[str, ...]] = ("nmi", "ari", "accuracy", "nmi_sd")
    config: ClusteringConfig

    def __init__(self, config: ClusteringConfig) -> None:
        self.config = config

    def check_data(self, data: EvaluationData) -> None:
        """Raises `UserError` if there are fewer test images than classes, or all are of one class."""
        test = data.test
        if len(test) < len(test.classes):
            raise UserError(
                f"{test.name} ({test.split}) has {len(test)} images, fewer than its {len(test.classes)} classes. "
                "Use more test images."
            )
        shown = np.unique(test.targets())
        if len(shown) < 2:
            raise UserError(
                f"All images of {test.name} ({test.split}) are of the class '{test.classes[shown[0]]}'; clusters are "
                "compared with two classes or more."
            )

    def judge(self, subject: Subject, data: EvaluationData, env: Env) -> Record:
        """The record. It has no outcomes of single images: what is right of one depends on all others."""
        # Imported here, because whoever judges by other protocols should not wait for scikit-learn.
        from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

        started = time.perf_counter()
        vectors = unit_rows(encode(subject, data.test, env))
        labels, count = data.test.targets(), len(data.test.classes)
        found = []
        starts = kmeans(vectors, count, seed=env.seed, restarts=self.config.restarts, iterations=self.config.iterations)
        for number, clusters in enumerate(starts, start=1):
            found.append(clusters)
            env.say(f"{subject.name}: k-means with {count} clusters, start {number} of {self.config.restarts}")
        best = min(found, key=lambda clusters: clusters.inertia)  # the first of equals
        metrics = {
            "nmi": Metric(value=float(normalized_mutual_info_score(labels, best.labels))),
            "ari": Metric(value=float(adjusted_rand_score(labels, best.labels))),
            "accuracy": Metric(value=matched_accuracy(labels, best.labels)),
        }
        if len(found) > 1:
            metrics["nmi_sd"] = spread_of([normalized_mutual_info_score(labels, one.labels) for one in found])
        return make_record(
            self, subject, data, env,
            variant=departures(self.config), metrics=metrics, outcomes={},
            notes={"clusters": count, "inertia": best.inertia, "k-means by": default_backend()},
            started=started,
        )  # fmt: skip


def matched_accuracy(labels: NDArray[np.int64], clusters: NDArray[np.int64]) -> float:
    """The share of images whose cluster is matched to their class, under the best one-to-one matching.

    `labels` and `clusters` are int64 (n,), numbered from 0; their numbers may differ in how many there are.
    """
    from scipy.optimize import linear_sum_assignment

    counts = np.zeros((clusters.max() + 1, labels.max() + 1), dtype=np.int64)
    np.add.at(counts, (clusters, labels), 1)
    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / len(labels))
