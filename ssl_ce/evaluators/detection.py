"""`detection-faster-rcnn@1`: boxes around objects, by torchvision's Faster R-CNN on one map of an encoder.

After Ren et al., "Faster R-CNN", NeurIPS 2015, in torchvision's implementation. The paper's second transfer (Pathak et
al., 2016, section 5.2.2) is Fast R-CNN on proposals that were given: another protocol.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from ssl_ce.data.boxes import Boxes, ImageBoxes
from ssl_ce.data.imageset import ImageSet
from ssl_ce.data.packing import boxes_of
from ssl_ce.data.windows import boxes_through_window, random_windows, through_windows
from ssl_ce.descriptors.base import TrainableBackbone
from ssl_ce.errors import UserError
from ssl_ce.evaluators.base import Env, EvaluationData, Needs, Subject
from ssl_ce.evaluators.dense import Dense, DenseConfig, batches, fit, map_sides
from ssl_ce.evaluators.detector import Detector, average_precisions, check_extra
from ssl_ce.evaluators.encoding import train_of
from ssl_ce.evaluators.recording import make_record
from ssl_ce.evaluators.training import autocast, precision_on, repeatable
from ssl_ce.files import digest
from ssl_ce.methods.base import Batch
from ssl_ce.records.record import Metric, Record
from ssl_ce.references import parse_reference
from ssl_ce.seeds import derive_seed
from ssl_ce.settings import Settings

# What a window leaves of an object must be this share of its area to be learned from.
_LEAST_SHARE = 0.25


class DetectionConfig(DenseConfig):
    """Constants of the protocol; what is not here is torchvision's.

    Attributes
    ----------
    fewest_cells
        Boxes are found on the last tap whose map has so many cells a side, unless the subject names a tap.
    anchors, ratios
        Sides of the anchors as shares of the image's, and their ratios of height to width.
    channels
        The map is brought to so many by a 1 x 1 convolution, so that every encoder has the same head.
    hidden
        Width of the two layers that judge a box; torchvision's is 1,024.
    proposals
        How many proposals of an image are learned from in a step; torchvision's is 512.
    """

    steps: PositiveInt | None = 600
    batch_size: Annotated[int, Field(ge=2)] = 8
    rate: PositiveFloat = 0.03
    clip_norm: PositiveFloat | None = 10.0
    fewest_cells: PositiveInt = 8
    anchors: tuple[PositiveFloat, ...] = (0.125, 0.25, 0.5, 0.9)
    ratios: tuple[PositiveFloat, ...] = (0.5, 1.0, 2.0)
    channels: PositiveInt = 128
    hidden: PositiveInt = 256
    proposals: PositiveInt = 64


class Detection(Dense):
    """Judges an encoder by the objects that are found on its map: `ap50`, `ap`."""

    name: ClassVar[str] = "detection"
    preset: ClassVar[str | None] = "detection-faster-rcnn"
    version: ClassVar[int] = 1
    Config: ClassVar[type[Settings]] = DetectionConfig
    needs: ClassVar[Needs] = Needs("train", task="boxes", train=True)
    metrics: ClassVar[tuple[str, ...]] = ("ap50", "ap")
    floors: ClassVar[tuple[str, ...]] = ("{init}",)

    def __init__(self, config: DetectionConfig) -> None:
        self.config = config

    def check(self, subject: Subject, data: EvaluationData) -> None:
        """Raises `UserError` if the subject has no network or no map fine enough, or the images have no boxes."""
        check_extra()
        super().check(subject, data)
        self.tap(subject)
        for images in (train_of(data), data.test):
            _boxes_of(images)

    def run(self, subject: Subject, data: EvaluationData, env: Env) -> Iterator[Record]:
        """One record. Average precision is no mean over images: there is no interval, and no outcome of an image."""
        started = time.perf_counter()
        train = train_of(data)
        classes = find_classes(train, data.test)
        learned = _boxes_of(train).read(range(len(train)), classes)
        truth = _boxes_of(data.test).read(range(len(data.test)), classes)
        detector = self.train(subject, train, learned, classes, env)
        found = [one for rows in batches(data.test) for one in detector.find(data.test.read(rows))]
        scores = average_precisions(found, truth, len(classes))
        yield make_record(
            self, subject, data, env,
            variant=self.variant(),
            metrics={"ap50": Metric(value=scores.ap50), "ap": Metric(value=scores.ap)},
            outcomes={},
            notes={
                "map": f"{detector.tap}, {detector.cells} cells a side",
                "ap50 of classes": dict(zip(classes, scores.ap50_of, strict=True)),
                **_counted("train", learned),
                **_counted("test", truth),
                "average precision": scores.implementation,
                "precision": precision_on(env.device, self.config),
            },
            used=(_hash(learned), _hash(truth)),
            started=started,
        )  # fmt: skip

    def tap(self, subject: Subject) -> str:
        """The tap that the subject names, or else the last whose map is fine enough. Raises `UserError` without one."""
        assert isinstance(subject, TrainableBackbone)
        if parse_reference(subject.name).tap is not None:
            return subject.tap
        cells = self.config.fewest_cells
        fine = [tap for tap, side in map_sides(subject.trainable()).items() if side >= cells]
        if not fine:
            raise UserError(
                f"No map of '{subject.name}' has {cells} x {cells} cells, and fewer are too coarse to say where things "
                "are. Take a run of larger images, or name a tap: REF@TAP."
            )
        return fine[-1]

    def train(
        self, subject: Subject, train: ImageSet, boxes: Sequence[ImageBoxes], classes: Sequence[str], env: Env
    ) -> Detector:
        """A copy of the subject's network in a detector, trained on the train images and ready to find."""
        assert isinstance(subject, TrainableBackbone)
        config = self.config
        with repeatable(derive_seed(env.seed, self.name), env.device):
            encoder, tap = subject.trainable(), self.tap(subject)
            detector = Detector(
                encoder, tap, map_sides(encoder)[tap], len(classes), anchors=config.anchors, ratios=config.ratios,
                channels=config.channels, hidden=config.hidden, proposals=config.proposals,
            ).to(env.device)  # fmt: skip

            def loss_of(batch: Batch) -> Tensor:
                windows = random_windows(batch.keys("window"), config.smallest_window)
                images = through_windows(batch.images.float(), windows)
                side = images.shape[-1]
                targets = []
                for place, index in enumerate(batch.indices.tolist()):
                    one = boxes[index]
                    whole = boxes_through_window(torch.from_numpy(one.boxes), windows, place, side)
                    cut = whole.clamp(0, side)
                    kept = (_areas(cut) >= _LEAST_SHARE * _areas(whole)) & (cut[:, 2:] - cut[:, :2] >= 1).all(1)
                    kept &= ~torch.from_numpy(one.difficult)
                    targets.append((cut[kept], torch.from_numpy(one.labels)[kept]))
                with autocast(env.device, config):
                    return detector.loss(images, targets)

            fit(detector, encoder, tap, detector.head, loss_of, train, config, env, subject.name)
        return detector


def find_classes(train: ImageSet, test: ImageSet) -> tuple[str, ...]:
    """The classes of the train objects. All annotations are read.

    Raises
    ------
    UserError
        If train or test shows no object that counts, or test one of a class that train lacks.
    """
    classes = _boxes_of(train).classes
    for name in _boxes_of(test).classes:
        if name not in classes:
            raise UserError(
                f"{test.name} ({test.split}) holds objects of the class '{name}', of which {train.split} has none. "
                "Annotate some there, or rename them."
            )
    for images in (train, test):
        read = _boxes_of(images).read(range(len(images)), classes)
        if all(one.difficult.all() for one in read):
            raise UserError(
                f"{images.name} ({images.split}) shows no object that counts: all are missing, difficult or cut off. "
                "Annotate some, or pack with --fit squash."
            )
    return classes


def _boxes_of(images: ImageSet) -> Boxes:
    boxes = boxes_of(images)
    if boxes is None:
        raise UserError(
            f"{images.name} ({images.split}) has no boxes. Put Pascal VOC's XML beside the images: JPEGImages/1.jpg "
            "with Annotations/1.xml."
        )
    return boxes


def _counted(split: str, read: Sequence[ImageBoxes]) -> dict[str, int]:
    return {
        f"{split} objects": sum(int((~one.difficult).sum()) for one in read),
        f"{split} objects ignored (difficult, or less than a quarter in the square)": sum(
            int(one.difficult.sum()) for one in read
        ),
        f"{split} objects dropped (less than a pixel in the square)": sum(one.dropped for one in read),
    }


def _hash(read: Sequence[ImageBoxes]) -> str:
    return digest(*(part.tobytes() for one in read for part in (one.boxes, one.labels, one.difficult)))


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1)
