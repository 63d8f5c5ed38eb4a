"""A network with a classifying head, all of it trained on labels: what `finetune` and `voc-classification` share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torchvision.ops import stochastic_depth
from torchvision.transforms import v2

from ssl_ce.data.imageset import ImageSet
from ssl_ce.data.views import random_flip, random_resized_crop
from ssl_ce.descriptors.base import TrainableBackbone
from ssl_ce.errors import MachineError
from ssl_ce.evaluators.training import TrainingConfig, autocast, make_optimizer, repeatable, train
from ssl_ce.methods.base import Batch
from ssl_ce.networks.encoder import Encoder, tap_shape
from ssl_ce.networks.vit import PatchEncoder
from ssl_ce.pretraining.feed import Feed
from ssl_ce.randomness import sample_keys

_BATCH = 64  # test images scored at once

Share = Annotated[float, Field(ge=0, lt=1)]


class ClassifierConfig(TrainingConfig):
    """How a classifier is trained and tested.

    Attributes
    ----------
    smallest_crop
        Training images are random resized crops of at least this share of the image's area, mirrored by chance.
    smoothing
        Share of a label that is spread over all classes. Not for multi-label sets.
    mixup, cutmix
        Each batch is mixed by one of the two, with this alpha; 0 leaves it out. Not for multi-label sets.
    drop_path
        Chance of the last block's branches to be left out for an image, rising linearly from 0 at the first. Of
        transformers only.
    head_norm
        Give each number before the last layer zero mean and unit variance over the batch (BatchNorm without scale and
        shift), so that a rate suits encoders of any scale.
    hidden, dropout
        Sizes of hidden layers between the flattened map and the classes, and how much is dropped before each; () is
        global average pooling and one linear layer.
    test_crops
        Test scores are averages over so many random views as in training; 0 scores the whole image once.
    """

    smallest_crop: Annotated[float, Field(gt=0, le=1)] = 0.35
    smoothing: Share = 0.0
    mixup: NonNegativeFloat = 0.0
    cutmix: NonNegativeFloat = 0.0
    drop_path: Share = 0.0
    head_norm: bool = False
    hidden: tuple[PositiveInt, ...] = ()
    dropout: Share = 0.0
    test_crops: NonNegativeInt = 0


class Classifier(nn.Module):
    """An encoder up to one tap, and a head on that tap's map: normalised images (n, 3, size, size) -> (n, classes)."""

    def __init__(self, encoder: Encoder, tap: str, classes: int, config: ClassifierConfig) -> None:
        super().__init__()
        assert isinstance(encoder, nn.Module)
        self.encoder: Any = encoder
        self.tap = tap
        channels, rows, columns = tap_shape(encoder, tap)
        layers: list[nn.Module] = [nn.Flatten()] if config.hidden else [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        width = channels * rows * columns if config.hidden else channels
        for size in config.hidden:
            layers += [nn.Dropout(config.dropout), nn.Linear(width, size), nn.ReLU()]
            width = size
        if config.head_norm:
            layers.append(nn.BatchNorm1d(width, affine=False))
        last = nn.Linear(width, classes)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.head = nn.Sequential(*layers, last)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the classes, float32 (n, classes)."""
        scores: Tensor = self.head(self.encoder.maps(x, [self.tap])[self.tap])
        return scores.float()


def fit(
    backbone: TrainableBackbone,
    images: ImageSet,
    config: ClassifierConfig,
    *,
    seed: int,
    device: torch.device,
    say: Callable[[str], None],
    name: str,
) -> Classifier:
    """A copy of the backbone's encoder with a new head, both trained on the labels of `images`."""
    feed = Feed(images, size=_side(images), batch_size=config.batch_size, flip=False, seed=seed, device=device)
    targets = torch.from_numpy(images.targets()).to(device)
    with repeatable(seed, device):
        encoder = backbone.trainable()
        if isinstance(encoder, PatchEncoder):
            _add_drop_path(encoder, config.drop_path)
        classifier = Classifier(encoder, backbone.tap, len(images.classes), config).to(device).train()
        optimizer = make_optimizer(encoder, backbone.tap, classifier.head, config, feed.batch_size)
        mix = _mixing(config, len(images.classes)) if images.task == "classes" else None

        def loss_of(batch: Batch) -> Tensor:
            x = encoder.input.prepare(_view(batch.images, batch.keys("view"), encoder.input.size, config))
            y = targets[batch.indices]
            if mix is not None:
                x, y = mix(x, y)
            with autocast(device, config):
                scores = classifier(x.contiguous(memory_format=torch.channels_last))
            if images.task == "multilabel":
                return multilabel_loss(scores, y)
            return F.cross_entropy(scores, y, label_smoothing=config.smoothing)

        train(loss_of, feed, optimizer, config, say=say, name=name)
    return classifier.eval()


@torch.no_grad()
def score(
    classifier: Classifier, images: ImageSet, config: ClassifierConfig, *, seed: int, device: torch.device
) -> NDArray[np.float64]:
    """Scores of each class in float32, averaged over `config.test_crops` views: float64 (n, classes).

    Raises
    ------
    MachineError
        If one is not finite.
    """
    spec = classifier.encoder.input
    found = []
    for indices in torch.split(torch.arange(len(images)), _BATCH):
        pixels = images.read(indices).to(device)
        views = [
            _view(pixels, sample_keys(seed, crop, indices.to(device), "test view"), spec.size, config)
            for crop in range(config.test_crops)
        ]
        found.append(torch.stack([classifier(spec.prepare(view)) for view in views or [pixels]]).double().mean(0).cpu())
    scores = torch.cat(found).numpy()
    if not np.isfinite(scores).all():
        raise MachineError("The trained network gives scores that are not finite. Try a lower rate.")
    return scores


def multilabel_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """Sigmoid cross-entropy summed over classes, mean over images; targets (n, classes) of -1 do not count."""
    losses = F.binary_cross_entropy_with_logits(scores, targets.clamp(min=0).float(), reduction="none")
    return (losses * (targets >= 0)).sum() / len(scores)


def _view(images: Tensor, keys: Tensor, size: int, config: ClassifierConfig) -> Tensor:
    return random_flip(random_resized_crop(images, keys, size, smallest=config.smallest_crop), keys)


def _mixing(config: ClassifierConfig, classes: int) -> Any:
    """One of mixup and CutMix, drawn for each batch; None where neither is wanted."""
    kinds = ((v2.MixUp, config.mixup), (v2.CutMix, config.cutmix))
    wanted = [kind(alpha=alpha, num_classes=classes) for kind, alpha in kinds if alpha > 0]
    return v2.RandomChoice(wanted) if wanted else None


def _add_drop_path(encoder: PatchEncoder, largest: float) -> None:
    """Leave out branches of blocks by chance while training, for each image of its own (Huang et al., 2016)."""
    last = max(1, len(encoder.blocks) - 1)
    for number, block in enumerate(encoder.blocks):
        rate = largest * number / last

        def drop(module: nn.Module, inputs: Any, output: Any, rate: float = rate) -> Any:
            if isinstance(output, tuple):  # self-attention: what it found, and no weights
                return (stochastic_depth(output[0], rate, "row", module.training), *output[1:])
            return stochastic_depth(output, rate, "row", module.training)

        for branch in (block.self_attention, block.mlp):
            assert isinstance(branch, nn.Module)
            branch.register_forward_hook(drop)


def _side(images: ImageSet) -> int:
    assert images.size is not None
    return min(images.size)
