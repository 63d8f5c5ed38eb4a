"""The method contract: a pretext task, networks and losses. The loop that trains it knows no losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from ssl_ce.networks.encoder import Encoder
from ssl_ce.randomness import sample_keys


@dataclass(frozen=True)
class Batch:
    """One batch, on the device the networks are on.

    Attributes
    ----------
    images
        uint8 (n, 3, size, size), cropped and flipped already.
    indices
        int64 (n,): the samples' places in the image set.
    seed, epoch
        With an index and a purpose they make a sample's key.
    labels
        int64 (n,) or None; only a supervised ceiling looks at them.
    """

    images: Tensor
    indices: Tensor
    seed: int
    epoch: int
    labels: Tensor | None = None

    def keys(self, purpose: str) -> Tensor:
        """Per-sample keys for one purpose ("hole", "noise"): int64 (n,), independent of the batch's composition."""
        return sample_keys(self.seed, self.epoch, self.indices, purpose)


class Method(Protocol):
    """A pretext task: a plain object that owns networks.

    Attributes
    ----------
    name
        Its registered name.
    networks
        {name: module}; each is set up for device and precision on its own.
    players
        {player: names of its networks}, in the order in which they move each step. One optimiser each.
    encoder
        The part that evaluators judge.
    capabilities
        Subset of {"encode", "fill"}.
    default_holes
        The region strategy that it was trained with and its options, or None.
    """

    name: str
    networks: dict[str, nn.Module]
    players: Mapping[str, tuple[str, ...]]
    encoder: Encoder
    capabilities: frozenset[str]
    default_holes: tuple[str, Mapping[str, Any]] | None

    def prepare(self, batch: Batch) -> dict[str, Tensor]:
        """Inputs of a step: normalised images, holes, corrupted images ... No gradients."""
        ...

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Outputs of a step, shared by all players. Called once a step."""
        ...

    def loss(self, player: str, outputs: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The player's loss, a mean over the batch's images, and what to log.

        The other players' networks are frozen meanwhile. Several processes average the gradients of equal shares of a
        batch, so a loss over anything else than single images would not be that of the whole batch.
        """
        ...

    def fill(self, images: Tensor, holes: Tensor) -> Tensor:
        """Complete uint8 images (n, 3, size, size) under bool holes; the context comes back bit for bit."""
        ...
