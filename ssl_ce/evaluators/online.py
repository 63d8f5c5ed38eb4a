"""A cheap look at the features while they are learnt: k-NN accuracy of some *train* images among others."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ssl_ce.data.imageset import ImageSet
from ssl_ce.data.packing import epoch_order
from ssl_ce.descriptors.learned import NetworkDescriptor
from ssl_ce.methods.base import Method
from ssl_ce.search import nearest
from ssl_ce.seeds import derive_seed

_MOST_IMAGES = 2_000
_HELD_OUT = 0.2
_K = 20


def online_knn(images: ImageSet, seed: int) -> Callable[[Method], Mapping[str, float]]:
    """A hook for the training loop: {"online_knn": accuracy} of the encoder's last tap, globally pooled.

    Up to 2,000 labelled train images are drawn by seed; a fifth of them are classified by the majority of their
    20 nearest (cosine) among the rest. Nothing outside the train split is looked at.
    """
    chosen = epoch_order(images, derive_seed(seed, "online"), 0)[:_MOST_IMAGES]
    count = max(1, int(len(chosen) * _HELD_OUT))
    pixels, labels = images.read(chosen), images.targets(chosen.numpy())

    def evaluate(method: Method) -> Mapping[str, float]:
        device = next(method.networks["encoder"].parameters()).device
        descriptor = NetworkDescriptor("online", method.encoder, pool=1, device=str(device))
        features = descriptor.describe(pixels).numpy()
        k = min(_K, len(features) - count)
        _, neighbours = nearest(features[:count], features[count:], k)
        votes = labels[count:][neighbours]
        winners = np.array([np.bincount(row).argmax() for row in votes])
        return {"online_knn": float((winners == labels[:count]).mean())}

    return evaluate
