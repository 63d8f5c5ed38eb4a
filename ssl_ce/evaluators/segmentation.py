"""`segmentation-fcn@1`: a class for each pixel, by a fully convolutional head on an encoder that is trained with it.

After Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015, the paper's
third transfer (Pathak et al., 2016, section 5.2.3). Constants are ours.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from ssl_ce.data.imageset import ImageSet
from ssl_ce.data.labels import UNLABELLED
from ssl_ce.data.windows import random_windows, through_windows
from ssl_ce.descriptors.base import TrainableBackbone
from ssl_ce.evaluators.base import Env, EvaluationData, Needs, Subject
from ssl_ce.evaluators.confusion import class_iou, count_pixels, mean_iou, pixel_accuracy, pooled_metric
from ssl_ce.evaluators.dense import Dense, DenseConfig, batches, fit
from ssl_ce.evaluators.encoding import train_of
from ssl_ce.evaluators.fcn import FullyConvolutional, predict, scored_taps
from ssl_ce.evaluators.pixel_classes import Classes, find_classes, maps_of
from ssl_ce.evaluators.recording import make_record
from ssl_ce.evaluators.training import autocast, precision_on, repeatable
from ssl_ce.methods.base import Batch
from ssl_ce.records.record import Record
from ssl_ce.records.statistics import mean_metric
from ssl_ce.seeds import derive_seed
from ssl_ce.settings import Settings


class SegmentationConfig(DenseConfig):
    """Constants of the protocol.

    Attributes
    ----------
    finest
        Stride in pixels of the finest maps that are scored: the last tap of each stride from this on, up to the
        subject's tap.
    """

    steps: PositiveInt | None = 1000
    batch_size: Annotated[int, Field(ge=2)] = 16
    rate: PositiveFloat = 0.016
    finest: PositiveInt = 4


class Segmentation(Dense):
    """Judges an encoder by the label maps that it learns to draw: `miou`, `pixel_accuracy`, `iou_by_image`."""

    name: ClassVar[str] = "segmentation"
    preset: ClassVar[str | None] = "segmentation-fcn"
    version: ClassVar[int] = 1
    Config: ClassVar[type[Settings]] = SegmentationConfig
    needs: ClassVar[Needs] = Needs("train", task="segmentation", train=True)
    metrics: ClassVar[tuple[str, ...]] = ("miou", "pixel_accuracy", "iou_by_image")
    floors: ClassVar[tuple[str, ...]] = ("{init}",)

    def __init__(self, config: SegmentationConfig) -> None:
        self.config = config

    def check(self, subject: Subject, data: EvaluationData) -> None:
        """Raises `UserError` if the subject has no network, or the images have no label maps."""
        super().check(subject, data)
        for images in (train_of(data), data.test):
            maps_of(images)

    def run(self, subject: Subject, data: EvaluationData, env: Env) -> Iterator[Record]:
        """One record, with outcomes of each test image; NaN for one without a labelled pixel."""
        started = time.perf_counter()
        train = train_of(data)
        classes = find_classes(train, data.test)
        network = self.train(subject, train, classes, env)
        counts = self.score(network, data.test, classes)
        image_iou = mean_iou(counts)
        yield make_record(
            self, subject, data, env,
            variant=self.variant(),
            metrics={
                "miou": pooled_metric(counts, mean_iou, seed=env.seed),
                "pixel_accuracy": pooled_metric(counts, pixel_accuracy, seed=env.seed),
                "iou_by_image": mean_metric(image_iou[~np.isnan(image_iou)], seed=env.seed),
            },
            outcomes={"iou_by_image": image_iou, "accuracy_by_image": pixel_accuracy(counts)},
            notes={**_notes(network, classes, counts), "precision": precision_on(env.device, self.config)},
            used=classes.hashes,
            started=started,
        )  # fmt: skip

    def score(self, network: FullyConvolutional, images: ImageSet, classes: Classes) -> NDArray[np.int64]:
        """Counts of pixels of each image, as `count_pixels` gives them: int64 (n, 3, classes)."""
        maps, number = maps_of(images), len(classes.names)
        parts = [
            count_pixels(predict(network, images.read(rows)), classes.of(maps.read(rows)).numpy(), number)
            for rows in batches(images)
        ]
        return np.concatenate(parts)

    def train(self, subject: Subject, train: ImageSet, classes: Classes, env: Env) -> FullyConvolutional:
        """A copy of the subject's network with a head, trained on the train images and ready to predict."""
        assert isinstance(subject, TrainableBackbone)
        config, maps = self.config, maps_of(train)
        with repeatable(derive_seed(env.seed, self.name), env.device):
            encoder: Any = subject.trainable()
            taps = scored_taps(encoder, subject.tap, config.finest)
            network = FullyConvolutional(encoder, taps, len(classes.names), frozen=config.frozen).to(env.device)

            def loss_of(batch: Batch) -> Tensor:
                windows = random_windows(batch.keys("window"), config.smallest_window)
                images = through_windows(batch.images.float(), windows)
                labels = classes.of(maps.read(batch.indices.cpu())).to(env.device)
                labels = through_windows(labels[:, None].float(), windows, "nearest")[:, 0].long()
                with autocast(env.device, config):
                    scores = network(encoder.input.prepare(images), images.shape[-1])
                # A batch may be unlabelled, and a mean over nothing is no number.
                total = F.cross_entropy(scores.float(), labels, ignore_index=UNLABELLED, reduction="sum")
                return total / (labels != UNLABELLED).sum().clamp(min=1)

            fit(network, encoder, subject.tap, network.scores, loss_of, train, config, env, subject.name)
        return network


def _notes(network: FullyConvolutional, classes: Classes, counts: NDArray[np.int64]) -> Mapping[str, Any]:
    pixels = counts.sum(axis=0)
    iou = class_iou(pixels)
    common = int(np.argmax(classes.pixels))
    guess = np.zeros_like(pixels)
    guess[0, common], guess[1], guess[2, common] = pixels[1, common], pixels[1], pixels[1].sum()
    absent = [name for name, value in zip(classes.names, iou, strict=True) if np.isnan(value)]
    return {
        "maps scored": ", ".join(network.taps),
        "iou of classes": {
            name: round(float(value), 4) for name, value in zip(classes.names, iou, strict=True) if not np.isnan(value)
        },
        **({"classes neither in test nor predicted, left out": ", ".join(absent)} if absent else {}),
        f"miou of '{classes.names[common]}' everywhere, the most frequent in train": round(float(mean_iou(guess)), 4),
        "test images without a labelled pixel": int((counts[:, 1].sum(axis=1) == 0).sum()),
    }
