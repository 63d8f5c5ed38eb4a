"""What segmentation and detection share: their settings, checks, and the training of a head with an encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ssl_ce.data.imageset import ImageSet
from ssl_ce.evaluators.base import Env, EvaluationData, Needs, Subject
from ssl_ce.evaluators.described import OfDescriptors
from ssl_ce.evaluators.encoding import check_describes, check_labelled
from ssl_ce.evaluators.finetune import check_trainable
from ssl_ce.evaluators.recording import departures
from ssl_ce.evaluators.training import TrainingConfig, make_optimizer, train
from ssl_ce.methods.base import Batch
from ssl_ce.networks.encoder import Encoder
from ssl_ce.pretraining.feed import Feed


class DenseConfig(TrainingConfig):
    """How an encoder is trained with a head that says what is where.

    Attributes
    ----------
    smallest_window
        Train images are seen through random windows of at least this share of their side, mirrored by chance.
    frozen
        Train the head alone.
    """

    smallest_window: Annotated[float, Field(gt=0, le=1)] = 0.5
    frozen: bool = False


class Dense(OfDescriptors):
    """What the two evaluators have in common; they are complete with `run`."""

    name: ClassVar[str]
    config: Any

    def check(self, subject: Subject, data: EvaluationData) -> None:
        """Raises `UserError` where there is no network to train, or no two sets of one size."""
        check_describes(subject, data.test)
        check_trainable(self.name, subject)
        check_labelled(data, Needs("train", train=True))

    def variant(self) -> dict[str, str]:
        """What sets a row apart: settings that were changed, an encoder that was not trained."""
        changed = departures(self.config, "frozen")
        return {**changed, "encoder": "frozen"} if self.config.frozen else changed


def fit(
    network: nn.Module,
    encoder: Encoder,
    tap: str,
    head: nn.Module,
    loss_of: Callable[[Batch], Tensor],
    images: ImageSet,
    config: DenseConfig,
    env: Env,
    name: str,
) -> None:
    """Train `head` and, unless it is frozen, the encoder up to `tap`; both are parts of `network`, which ends in
    evaluation mode."""
    assert images.size is not None
    assert isinstance(encoder, nn.Module)
    feed = Feed(
        images, size=min(images.size), batch_size=config.batch_size, flip=False, seed=env.seed, device=env.device
    )
    optimizer = make_optimizer(encoder, tap, head, config, feed.batch_size)
    if config.frozen:
        encoder.requires_grad_(False)
    network.train()
    train(loss_of, feed, optimizer, config, say=env.say, name=name)
    network.eval()


@torch.no_grad()
def map_sides(encoder: Encoder) -> dict[str, int]:
    """{tap: shorter side of its map for images of the encoder's own size}, in the order of the taps."""
    assert isinstance(encoder, nn.Module)
    training, size = encoder.training, encoder.input.size
    blank = torch.zeros(1, 3, size, size, device=next(encoder.parameters()).device)
    maps = encoder.eval().maps(blank, encoder.taps)
    encoder.train(training)
    return {tap: min(maps[tap].shape[2:]) for tap in encoder.taps}


def batches(images: ImageSet, size: int = 64) -> Sequence[Tensor]:
    """The numbers of all images in order, `size` at a time."""
    return torch.split(torch.arange(len(images)), size)
