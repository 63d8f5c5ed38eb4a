"""What the evaluators of frozen features share: the descriptor, the checks of the data, and the features."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ssl_ce.data.imageset import ImageSet
from ssl_ce.descriptors import load_descriptor
from ssl_ce.descriptors.base import Calibratable, Descriptor
from ssl_ce.errors import UserError
from ssl_ce.evaluators.base import Env, EvaluationData, Subject


def resolve_descriptor(reference: str, train: ImageSet | None, device: torch.device | str) -> Descriptor:
    """The descriptor that `reference` names; one whose BatchNorm was never trained is calibrated on `train`.

    Raises
    ------
    UserError
        If the reference names nothing, or it must be calibrated and there are no train images.
    """
    descriptor = load_descriptor(reference, str(device))
    if not (isinstance(descriptor, Calibratable) and getattr(descriptor, "needs_calibration", False)):
        return descriptor
    if train is None:
        raise UserError(f"'{reference}' was never trained and needs train images for its BatchNorm: give --train.")
    return descriptor.calibrated(train)


def check_classification(data: EvaluationData) -> ImageSet:
    """The train set, after checking that `data` can be classified: cheap, nothing is read but the labels.

    Raises
    ------
    UserError
        If there is no train set, a set has no class labels, there is one class only, the two sets differ in
        classes or image size, or they are the same images.
    """
    train, test = data.train, data.test
    if train is None:
        raise UserError(f"Classifying {test.name} needs a train split as well as {test.split}: give --train.")
    for images in (train, test):
        where = f"{images.name} ({images.split})"
        if images.task != "classes":
            raise UserError(f"{where} has no class labels. Put its images into one folder for each class.")
        if len(images) == 0:
            raise UserError(f"{where} holds no images.")
    if len(train.classes) < 2:
        raise UserError(f"{train.name} ({train.split}) has one class only; classification needs two or more.")
    if train.classes != test.classes:
        odd = sorted(set(train.classes) ^ set(test.classes))
        named = f": {', '.join(odd[:3])}" if odd else ", in another order"
        raise UserError(f"{train.name} ({train.split}) and {test.name} ({test.split}) differ in their classes{named}.")
    if train.size is None or train.size != test.size:
        raise UserError(
            f"Train images are {_size(train)} and test images {_size(test)}; pack both with the same --size."
        )
    if train.fingerprint == test.fingerprint:
        raise UserError(f"Train and test are the same images ({test.name}, {test.split}). Give two splits.")
    return train


def check_describes(subject: Subject, images: ImageSet) -> None:
    """Raise `UserError` where the subject cannot describe images of this size, before any subject is judged."""
    assert isinstance(subject, Descriptor)
    if images.size is not None:
        subject.dim(*images.size)


def encode(descriptor: Subject, images: ImageSet, env: Env) -> NDArray[np.float32]:
    """Features of a whole set, from the cache or computed now with progress: float32 (n, dim), read-only."""
    assert isinstance(descriptor, Descriptor)
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        env.say(f"{descriptor.name}: described {done:,} of {len(images):,} {images.split} images")

    return env.cache.features(descriptor, images, advance=advance)


def _size(images: ImageSet) -> str:
    return "of different sizes" if images.size is None else f"{images.size[1]} x {images.size[0]}"
