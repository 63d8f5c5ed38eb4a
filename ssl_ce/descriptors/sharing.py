"""Features described by several processes, each a share of the images."""

from __future__ import annotations

from itertools import pairwise

import torch

from ssl_ce.data.imageset import ImageSet
from ssl_ce.data.packing import Subset
from ssl_ce.descriptors.base import Descriptor
from ssl_ce.descriptors.cache import FeatureCache
from ssl_ce.descriptors.every_tap import EveryTap
from ssl_ce.processes import Processes


def describe_images_together(
    processes: Processes,
    cache: FeatureCache,
    subject: Descriptor | EveryTap,
    images: ImageSet,
) -> None:
    """Put the features of `images` into the cache, each process describing one piece of whole batches.

    Every process must call it. Batches hold the same images as one process's, so the features are bit for bit those
    that one process of the same device and thread count computes. The pieces lie in the cache until rank 0 has joined
    them; an interrupted run finds them again.

    Raises
    ------
    UserError
        If rank 0 does not find the others' pieces: the machines do not share the cache's folder.
    """
    descriptors = list(subject.taps.values()) if isinstance(subject, EveryTap) else [subject]
    missing = processes.highest(int(not all(cache.holds(descriptor, images) for descriptor in descriptors)))
    if not missing[0]:
        return
    pieces = _pieces(images, processes.count, cache.batch_size)

    def describe() -> None:
        mine = pieces[processes.rank]
        if len(mine) == 0:
            return
        if isinstance(subject, EveryTap):
            cache.features_of_taps(subject, mine)
        else:
            cache.features(subject, mine)

    processes.together(describe)

    def join() -> None:
        for descriptor in descriptors:
            cache.join(descriptor, images, pieces)

    processes.on_main(join)


def _pieces(images: ImageSet, count: int, batch_size: int) -> list[ImageSet]:
    """`images` in `count` pieces of whole batches, in order; the last batch may be shorter, and a piece empty."""
    batches = -(-len(images) // batch_size)
    bounds = [min(len(images), batches * rank // count * batch_size) for rank in range(count + 1)]
    return [Subset(images, torch.arange(*ends), "images {} to {}".format(*ends)) for ends in pairwise(bounds)]
