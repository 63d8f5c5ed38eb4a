"""Training linear heads on augmented views of images, whose features a frozen descriptor computes at every step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from ssl_ce.data.imageset import ImageSet
from ssl_ce.data.views import center_crop, random_crop, random_flip, random_resized_crop, resized
from ssl_ce.descriptors.base import Descriptor
from ssl_ce.descriptors.learned import NetworkDescriptor
from ssl_ce.errors import UserError
from ssl_ce.evaluators.linear_heads import HeadConfig, HeadOptimizer, Heads, summed_loss
from ssl_ce.pretraining.feed import Feed
from ssl_ce.pretraining.optimization import schedule_factor
from ssl_ce.pretraining.recipe import OptimConfig
from ssl_ce.randomness import sample_keys

Look = tuple[str, str]
"""What heads look at: the key of a subject, and what of it."""

Inputs = Mapping[Look, Sequence[Descriptor]]
"""{what heads look at: the descriptors whose vectors are joined to it}. Networks among them share one encoder."""

Rates = Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]
BatchSize = Annotated[int, Field(ge=2)]
View = Literal["resized-crop", "crop"]

_BATCH = 256  # images scored at once
_SAY_EVERY = 10
_CENTER = 7 / 8  # of the side: the crop of 224 pixels from 256


class SgdConfig(HeadConfig):
    """How heads are trained, and tested on the central 7/8 of each image.

    Attributes
    ----------
    rates
        Learning rates for each 256 images of a batch; each is a head of its own.
    batch_size
        At most; a smaller set is one batch. What an epoch leaves over is left out.
    epochs, iterations
        How long; `iterations` batches where given.
    warmup_epochs
        In which the rate rises linearly.
    milestones
        The rate falls to a tenth at the end of each of these epochs; without them along a cosine to 0.
    view
        What a training image becomes, before it is mirrored by chance: a rectangle of 8 to 100 % of its area, resized;
        or a square of 7/8 of its side.
    held_out_share
        Of train, each class in proportion: what chooses among several heads. A single head sees all of train.
    """

    rates: Rates = (0.1,)
    batch_size: BatchSize = 512
    epochs: PositiveInt = 90
    iterations: PositiveInt | None = None
    warmup_epochs: NonNegativeInt = 0
    milestones: tuple[PositiveInt, ...] = ()
    view: View = "resized-crop"
    held_out_share: Annotated[float, Field(gt=0, lt=1)] = 0.1

    def factor(self, step: int, total: int, steps_per_epoch: int) -> float:
        """Factor on every rate at `step` (from 0) of `total`."""
        if self.milestones:
            return 0.1 ** sum(step >= milestone * steps_per_epoch for milestone in self.milestones)
        warmup = self.warmup_epochs * steps_per_epoch
        return schedule_factor(step, total, OptimConfig(steps=total, warmup_steps=warmup))


@dataclass(frozen=True)
class Trained:
    """Trained heads, {what they look at: them}, and what is to be said about how they became so."""

    inputs: Inputs
    stacks: Mapping[Look, Heads]
    side: int
    notes: Mapping[str, object]

    @torch.no_grad()
    def scores(self, images: ImageSet) -> Iterator[tuple[Tensor, dict[Look, Tensor]]]:
        """Batch by batch: indices (n,), and scores {what the heads look at: float32 (heads, n, classes)}."""
        device = next(iter(self.stacks.values())).weight.device
        for indices in torch.split(torch.arange(len(images)), _BATCH):
            views = _test_view(images.read(indices), self.side)
            features = _describe(self.inputs, views)
            yield indices, {name: heads(features[name].to(device)) for name, heads in self.stacks.items()}


def train_heads(
    inputs: Inputs,
    images: ImageSet,
    config: SgdConfig,
    *,
    seed: int,
    device: torch.device,
    say: Callable[[str], None],
    name: str,
) -> Trained:
    """One head for each of `inputs` and rate, all in one pass over `images`.

    Raises
    ------
    UserError
        If features are not finite, or the same for every view of a batch.
    """
    assert images.size is not None
    feed = Feed(images, size=min(images.size), batch_size=config.batch_size, flip=False, seed=seed, device=device)
    side = _side(inputs, feed.size)
    keys = sample_keys(seed, 0, torch.arange(len(config.rates)), "linear heads")
    stacks = {
        look: Heads(*_shape(parts, side), len(images.classes), keys, config).to(device).train()
        for look, parts in inputs.items()
    }
    rates = [rate * feed.batch_size / 256 for rate in config.rates]
    optimizer = HeadOptimizer(stacks.values(), rates, config)
    targets = torch.from_numpy(images.targets()).to(device)
    total = config.iterations or config.epochs * feed.steps_per_epoch
    started = time.perf_counter()
    for step, batch in enumerate(feed.batches(0, total)):
        features = _describe(inputs, _train_view(batch.images, batch.keys("view"), side, config))
        if step == 0:
            _check_varied(features, name)
        losses = [
            summed_loss(heads(features[look].to(device)), targets[batch.indices]) for look, heads in stacks.items()
        ]
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step(config.factor(step, total, feed.steps_per_epoch))
        if (step + 1) % _SAY_EVERY == 0 or step + 1 == total:
            speed = (step + 1) * feed.batch_size / (time.perf_counter() - started)
            say(f"{name}: step {step + 1:,} of {total:,}, {speed:,.0f} images/s")
    for heads in stacks.values():
        heads.eval()
    return Trained(inputs, stacks, side, {"batch": feed.batch_size, "steps": total, "side": side})


def _describe(inputs: Inputs, views: Tensor) -> dict[Look, Tensor]:
    """Features of each of `inputs`, float32 (n, its dim); a network runs once."""
    parts = {part.identity: part for joined in inputs.values() for part in joined}
    networks = {key: part for key, part in parts.items() if isinstance(part, NetworkDescriptor)}
    found = next(iter(networks.values())).describe_taps(views, networks) if networks else {}
    found |= {key: part.describe(views) for key, part in parts.items() if key not in networks}
    features = {look: torch.cat([found[part.identity] for part in joined], dim=1) for look, joined in inputs.items()}
    for look, joined in inputs.items():
        if not torch.isfinite(features[look]).all():
            raise UserError(
                f"The features of '{joined[0].name}' are not finite (NaN or infinite). Its weights or its training are "
                "broken; judge another checkpoint."
            )
    return features


def _check_varied(features: Mapping[Look, Tensor], name: str) -> None:
    for found in features.values():
        if len(found) > 1 and bool((found == found[0]).all()):
            raise UserError(
                f"'{name}' gives every train image the same features, so nothing can be told apart by them. Its "
                "encoder has collapsed, or the images are all alike."
            )


def _side(inputs: Inputs, side: int) -> int:
    """Side of the views: the encoder's input, or that of the images where there is no network."""
    first = next(iter(inputs.values()))[0]
    return int(first.encoder.input.size) if isinstance(first, NetworkDescriptor) else side


def _shape(parts: Sequence[Descriptor], side: int) -> tuple[int, int]:
    """Numbers and channels of the joined vectors; where there are no channels each number is one."""
    dim = sum(part.dim(side, side) for part in parts)
    if len(parts) == 1 and isinstance(parts[0], NetworkDescriptor):
        return dim, parts[0].encoder.taps[parts[0].tap][0]
    return dim, dim


def _train_view(images: Tensor, keys: Tensor, side: int, config: SgdConfig) -> Tensor:
    if config.view == "resized-crop":
        return random_flip(random_resized_crop(images, keys, side), keys)
    return random_flip(resized(random_crop(images, keys, round(_CENTER * images.shape[-1])), side), keys)


def _test_view(images: Tensor, side: int) -> Tensor:
    return resized(center_crop(images, round(_CENTER * min(images.shape[2:]))), side)
