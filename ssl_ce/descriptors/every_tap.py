"""`REF@all`: every tap of one encoder, for evaluators that look at each and choose among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from torch import Tensor

from ssl_ce.data.imageset import ImageSet
from ssl_ce.descriptors.learned import NetworkDescriptor
from ssl_ce.errors import UserError
from ssl_ce.files import digest
from ssl_ce.networks.encoder import Encoder

ALL = "all"
"""The tap that stands for all of them."""


class EveryTap:
    """The descriptors at all taps of one encoder, which they share.

    It describes nothing itself: asked to, it raises `UserError`, so an evaluator without a layer axis refuses it.

    Attributes
    ----------
    name
        The reference, `REF@all`.
    taps
        {tap: its descriptor}, from the input to the last layer; called `REF@tap`.
    """

    def __init__(self, name: str, taps: Mapping[str, NetworkDescriptor]) -> None:
        self.name = name
        self.taps = dict(taps)
        self.identity = digest("every tap", *(descriptor.identity for descriptor in taps.values()))

    @property
    def needs_calibration(self) -> bool:
        """Whether BatchNorm statistics must be calibrated before a fair comparison."""
        return any(descriptor.needs_calibration for descriptor in self.taps.values())

    def calibrated(self, images: ImageSet) -> EveryTap:
        """A copy whose BatchNorm statistics come from `images`."""
        last = list(self.taps.values())[-1].calibrated(images)
        return EveryTap(self.name, {tap: one.with_encoder(last.encoder) for tap, one in self.taps.items()})

    def state_hash(self) -> str:
        """Hash of the encoder's parameters and buffers as they are now."""
        return next(iter(self.taps.values())).state_hash()

    def describe_each(self, images: Tensor) -> dict[str, Tensor]:
        """uint8 (n, 3, h, w) -> {tap: float32 (n, its dim)} in one pass, as each tap's own descriptor gives them."""
        return next(iter(self.taps.values())).describe_taps(images, self.taps)

    def dim(self, height: int, width: int) -> int:
        """Refused: there is a vector for each tap, and none for all."""
        self._refuse()

    def describe(self, images: Tensor, holes: Tensor | None = None) -> Tensor:
        """Refused: there is a vector for each tap, and none for all."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        known = ", ".join(self.taps)
        raise UserError(f"'{self.name}' stands for every tap; here one is to be named, with @TAP. They are {known}.")


def tapped(name: str, encoder: Encoder, tap: str | None, **options: Any) -> NetworkDescriptor | EveryTap:
    """The descriptor at `tap` of an encoder, or at every one (`all`); `options` are `NetworkDescriptor`'s."""
    if tap != ALL or ALL in encoder.taps:
        return NetworkDescriptor(name, encoder, tap, **options)
    head, question, query = name.partition("?")
    names = {one: f"{head.removesuffix(f'@{ALL}')}@{one}{question}{query}" for one in encoder.taps}
    return EveryTap(name, {one: NetworkDescriptor(names[one], encoder, one, **options) for one in encoder.taps})
