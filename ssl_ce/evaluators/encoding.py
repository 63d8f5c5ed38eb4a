"""What the evaluators of frozen features share: the descriptor, the checks of the data, and the features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ssl_ce.data.imageset import ImageSet, Task
from ssl_ce.descriptors import load_descriptor
from ssl_ce.descriptors.base import Calibratable, Descriptor
from ssl_ce.errors import UserError
from ssl_ce.evaluators.base import Env, EvaluationData, Needs, Subject


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


def check_labelled(data: EvaluationData, needs: Needs, tasks: Sequence[Task] = ("classes",)) -> None:
    """Check that `data` are what a protocol needs; cheap, nothing is read but the labels.

    Raises
    ------
    UserError
        If there are no train images where they are needed, or they differ from the test images in size, or are the
        same. Where labels are needed: if a set has none of the kinds `tasks`, there is one class only, the
        sets differ in their classes, or test holds one that train has no image of.
    """
    train, test = data.train, data.test
    if needs.train and train is None:
        raise UserError(f"Judging {test.name} needs a train split as well as {test.split}: give --train.")
    given = [images for images in (train, test) if images is not None]
    for images in given:
        if len(images) == 0:
            raise UserError(f"{_where(images)} holds no images.")
        if needs.task != "none" and images.task not in tasks:
            raise UserError(f"{_where(images)} has {_other_labels(images.task, tasks)}")
    if needs.task != "none" and len(given[0].classes) < 2 and given[0].task == "classes":
        raise UserError(f"{_where(given[0])} has one class only; classification needs two or more.")
    if train is None:
        return
    if train.size is None or train.size != test.size:
        raise UserError(
            f"Train images are {_size(train)} and test images {_size(test)}; pack both with the same --size."
        )
    if train.fingerprint == test.fingerprint:
        raise UserError(f"Train and test are the same images ({test.name}, {test.split}). Give two splits.")
    if needs.task != "none":
        _check_classes(train, test)


def train_of(data: EvaluationData) -> ImageSet:
    """The train images of data that were checked to have some."""
    assert data.train is not None, "check_labelled comes first"
    return data.train


def _other_labels(task: Task, tasks: Sequence[Task]) -> str:
    """What labels a set has that are none of `tasks`, and what to do."""
    if "classes" not in tasks:
        found = "one class an image" if task == "classes" else "no labels"
        return f"{found}, and this protocol takes several, as of voc2007 or celeba. For classes: ce evaluate finetune."
    if task == "multilabel":
        return "several classes an image, and this protocol takes one. For several: ce evaluate linear-probe."
    return "no class labels. Put its images into one folder for each class."


def _check_classes(train: ImageSet, test: ImageSet) -> None:
    if train.task != test.task:
        raise UserError(f"{_where(train)} and {_where(test)} differ in their labels: {train.task} and {test.task}.")
    if train.classes != test.classes:
        odd = sorted(set(train.classes) ^ set(test.classes))
        named = f": {', '.join(odd[:3])}" if odd else ", in another order"
        raise UserError(f"{_where(train)} and {_where(test)} differ in their classes{named}.")
    counts = [_counts(images) for images in (train, test)]
    absent = np.flatnonzero((counts[0] == 0) & (counts[1] > 0))
    if absent.size:
        raise UserError(
            f"{_where(test)} holds the class '{test.classes[absent[0]]}', of which {_where(train)} has no image. Give "
            "train images of it, or leave the class out of both."
        )


def _counts(images: ImageSet) -> NDArray[np.int64]:
    """How many images show each class: int64 (classes,)."""
    targets = images.targets()
    if targets.ndim == 2:
        found: NDArray[np.int64] = (targets == 1).sum(axis=0)
        return found
    return np.bincount(targets, minlength=len(images.classes))


def check_describes(subject: Subject, images: ImageSet) -> None:
    """Raise `UserError` where the subject cannot describe images of this size, before any subject is judged."""
    assert isinstance(subject, Descriptor)
    if images.size is not None:
        subject.dim(*images.size)


def encode(descriptor: Subject, images: ImageSet, env: Env) -> NDArray[np.float32]:
    """Features of a whole set, from the cache or computed now with progress: float32 (n, dim), read-only.

    Raises
    ------
    UserError
        If they are not finite, or the same for every image: nothing can be told apart by them.
    """
    assert isinstance(descriptor, Descriptor)
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        env.say(f"{descriptor.name}: described {done:,} of {len(images):,} {images.split} images")

    features = env.cache.features(descriptor, images, advance=advance)
    if len(features) > 1 and _is_constant(features):
        raise UserError(
            f"'{descriptor.name}' gives every image of {_where(images)} the same features, so nothing can be told "
            "apart by them. Its encoder has collapsed, or the images are all alike."
        )
    return features


def unit_rows(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """A copy in memory of features (n, dim), each row scaled to length 1; a row of zeros stays one."""
    rows = np.array(features)
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
    rows /= np.where(lengths > 0, lengths, 1.0)[:, None].astype(np.float32)
    return rows


def _is_constant(features: NDArray[np.float32]) -> bool:
    """Whether all rows are equal; the first that differs ends the search."""
    step = 256
    return not any((features[start : start + step] != features[0]).any() for start in range(0, len(features), step))


def _where(images: ImageSet) -> str:
    return f"{images.name} ({images.split})"


def _size(images: ImageSet) -> str:
    return "of different sizes" if images.size is None else f"{images.size[1]} x {images.size[0]}"
