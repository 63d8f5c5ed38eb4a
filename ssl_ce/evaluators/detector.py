"""torchvision's Faster R-CNN around one map of an encoder, and COCO's average precision of what it finds."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign

from ssl_ce.data.boxes import ImageBoxes
from ssl_ce.errors import UserError
from ssl_ce.networks.encoder import Encoder

_CELLS_OF_A_BOX = 7


class Found(NamedTuple):
    """What was found in one image: boxes float32 (k, 4), left, top, right, bottom in its pixels; scores; labels."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]


class Scores(NamedTuple):
    """COCO's average precision at an overlap of 0.5, and over 0.5 ... 0.95; of each class, None without objects."""

    ap50: float
    ap: float
    ap50_of: list[float | None]
    implementation: str


class Detector(nn.Module):
    """Faster R-CNN on one map. BatchNorm of the encoder keeps its statistics, as usual with few images a batch.

    Parameters
    ----------
    encoder, tap, cells
        Whose map, which, and its cells a side for images of the encoder's size.
    classes
        Number of classes but the background.
    anchors, ratios
        Sides of the anchors as shares of the image's, and their ratios of height to width.
    channels
        The map is brought to so many by a 1 x 1 convolution, so that all encoders get the same head.
    hidden
        Width of the two layers that judge a box.
    proposals
        How many proposals of an image are learned from in a step.
    """

    def __init__(
        self,
        encoder: Encoder,
        tap: str,
        cells: int,
        classes: int,
        *,
        anchors: Sequence[float],
        ratios: Sequence[float],
        channels: int,
        hidden: int,
        proposals: int,
    ) -> None:
        super().__init__()
        self.spec, self.tap, self.cells = encoder.input, tap, cells
        size, backbone = encoder.input.size, _OneMap(encoder, tap, channels)
        # Images come at the encoder's size and normalised, so that nothing is left for torchvision's transform.
        self.model = FasterRCNN(
            backbone,
            min_size=size,
            max_size=size,
            size_divisible=1,
            image_mean=[0.0] * 3,
            image_std=[1.0] * 3,
            rpn_anchor_generator=AnchorGenerator((tuple(size * side for side in anchors),), (tuple(ratios),)),
            box_roi_pool=MultiScaleRoIAlign(["0"], _CELLS_OF_A_BOX, sampling_ratio=-1),
            box_head=TwoMLPHead(channels * _CELLS_OF_A_BOX**2, hidden),
            box_predictor=FastRCNNPredictor(hidden, classes + 1),
            box_batch_size_per_image=proposals,
        )
        self.head = nn.ModuleList([backbone.narrow, self.model.rpn, self.model.roi_heads])

    def train(self, mode: bool = True) -> Detector:
        """As `nn.Module.train`, but the encoder's BatchNorm stays as it is in evaluation."""
        super().train(mode)
        for part in self.model.backbone.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.eval()
        return self

    def loss(self, images: Tensor, targets: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """The sum of the four losses: images (n, 3, s, s) of 0 ... 255, boxes (k, 4) and labels (k,) of each."""
        scale = self.spec.size / images.shape[-1]
        given = [
            {"boxes": boxes.to(images) * scale, "labels": labels.to(images.device) + 1} for boxes, labels in targets
        ]
        losses: dict[str, Tensor] = self.model(list(self.spec.prepare(images)), given)
        return torch.stack([loss.float() for loss in losses.values()]).sum()

    @torch.no_grad()
    def find(self, images: Tensor) -> list[Found]:
        """The objects in uint8 images (n, 3, s, s), at most 100 each, the likeliest first."""
        device = next(self.parameters()).device
        scale = images.shape[-1] / self.spec.size
        return [
            Found((one["boxes"] * scale).cpu().numpy(), one["scores"].cpu().numpy(), (one["labels"] - 1).cpu().numpy())
            for one in self.model(list(self.spec.prepare(images.to(device))))
        ]


class _OneMap(nn.Module):
    """An encoder's tap as torchvision's detectors want it."""

    def __init__(self, encoder: Encoder, tap: str, channels: int) -> None:
        super().__init__()
        self.encoder: Any = encoder
        self.tap = tap
        self.narrow = nn.Conv2d(encoder.taps[tap][0], channels, 1)
        self.out_channels = channels

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        return OrderedDict({"0": self.narrow(self.encoder.maps(x, [self.tap])[self.tap]).float()})


def average_precisions(found: Sequence[Found], truth: Sequence[ImageBoxes], classes: int) -> Scores:
    """COCO's average precision (Lin et al., 2014: 101 points, 100 boxes an image), by pycocotools behind torchmetrics.

    Difficult objects are COCO's crowds: what lies mostly in one counts neither as right nor as wrong. Classes without
    an object are left out of the means; there must be one that has some.
    """
    from torchmetrics.detection import MeanAveragePrecision

    score = MeanAveragePrecision(extended_summary=True, backend="pycocotools")
    score.warn_on_many_detections = False
    for one, true in zip(found, truth, strict=True):
        score.update(
            [{"boxes": _t(one.boxes), "scores": _t(one.scores), "labels": _t(one.labels)}],
            [{"boxes": _t(true.boxes), "labels": _t(true.labels), "iscrowd": _t(true.difficult).long()}],
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an empty detection, which is not worth one
        result = score.compute()
    # Precisions by overlap, recall, class, area (all first) and number of boxes (100 last); -1 without an object.
    precision = result["precision"][0, :, :, 0, -1].mean(dim=0)
    seen = result["classes"].flatten().tolist()
    of_class = {number: round(float(value), 4) for number, value in zip(seen, precision, strict=True) if value >= 0}
    return Scores(
        ap50=float(result["map_50"]),
        ap=float(result["map"]),
        ap50_of=[of_class.get(number) for number in range(classes)],
        implementation=f"pycocotools {version('pycocotools')} behind torchmetrics {version('torchmetrics')}",
    )


def check_extra() -> None:
    """Raise `UserError` where what computes average precision is not installed."""
    try:
        import pycocotools  # noqa: F401
    except ImportError as error:
        raise UserError("detection needs the extra 'detection': pip install 'ssl-ce[detection]'") from error


def _t(values: NDArray[Any]) -> Tensor:
    return torch.from_numpy(values)
