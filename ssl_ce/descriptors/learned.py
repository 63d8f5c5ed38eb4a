"""A network as a descriptor: one tap of an encoder, pooled to a small grid."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_ce.data.imageset import ImageSet
from ssl_ce.data.views import resized
from ssl_ce.errors import UserError, unknown
from ssl_ce.files import digest
from ssl_ce.images import as_holes, as_images
from ssl_ce.methods.saved import state_hash
from ssl_ce.networks.encoder import Encoder, InputSpec, tap_shape

_BATCH = 64
_CALIBRATION_IMAGES = 1024


class NetworkDescriptor:
    """Features of an encoder at one tap.

    Images of another size than the encoder's are resized to it (antialiased bicubic). Missing pixels are set to
    `mean_fill` before anything else, so nothing under a hole is seen.

    Parameters
    ----------
    name
        The reference that makes it again.
    encoder
        An `Encoder` that is also an `nn.Module`; it is put into evaluation mode.
    tap
        One of `encoder.taps`; None takes the last.
    pool
        The map is average-pooled to at most `pool` x `pool` cells (a smaller map stays as it is) and flattened.
        1 is global average pooling; "flat" keeps the whole map.
    mean_fill
        RGB of 255 that stands for missing pixels: what the network was trained with.
    untrained
        The weights were never trained, so BatchNorm statistics must be calibrated before a fair comparison.
    notes
        What records say of it, such as how much of a checkpoint was found.
    """

    def __init__(
        self,
        name: str,
        encoder: Encoder,
        tap: str | None = None,
        *,
        pool: int | str = 4,
        mean_fill: tuple[int, int, int] = (117, 104, 123),
        untrained: bool = False,
        notes: Mapping[str, Any] | None = None,
        device: str = "cpu",
    ) -> None:
        if pool != "flat" and (not isinstance(pool, int) or pool < 1):
            raise UserError(
                f"In the subject '{name}', pool is {pool!r}; give a grid side (pool=1, pool=4) or pool=flat."
            )
        if tap is not None and tap not in encoder.taps:
            raise unknown(f"tap of {name.partition('@')[0]}", tap, encoder.taps)
        assert isinstance(encoder, nn.Module)
        self.name = name
        self.encoder: Any = encoder.to(device).to(memory_format=torch.channels_last).eval()
        self.tap = tap or list(encoder.taps)[-1]
        self.pool = pool
        self.mean_fill = mean_fill
        self.notes: dict[str, Any] = dict(notes or {})
        self.needs_calibration = untrained and any(isinstance(part, nn.BatchNorm2d) for part in encoder.modules())
        self._device = torch.device(device)
        self._untrained = untrained
        self.identity = digest("network", self.state_hash(), self.tap, str(pool), str(encoder.input), str(mean_fill))

    def dim(self, height: int, width: int) -> int:
        """Length of the vector; the same for images of any size."""
        channels, rows, columns = tap_shape(self.encoder, self.tap)
        if isinstance(self.pool, int):
            rows, columns = min(rows, self.pool), min(columns, self.pool)
        return channels * rows * columns

    @torch.no_grad()
    def describe(self, images: Tensor, holes: Tensor | None = None) -> Tensor:
        """uint8 (n, 3, h, w), optional bool holes (n, 1, h, w), True = missing -> float32 (n, dim), on the CPU."""
        images = as_images(images)
        holes = None if holes is None else as_holes(holes, images)
        return self._describe_taps(images, holes, {self.tap: self})[self.tap]

    @torch.no_grad()
    def describe_taps(self, images: Tensor, taps: Mapping[str, NetworkDescriptor]) -> dict[str, Tensor]:
        """What each of `taps`, descriptors of one encoder, makes of the images, in one pass: {key: (n, its dim)}."""
        return self._describe_taps(as_images(images), None, taps)

    def state_hash(self) -> str:
        """Hash of the encoder's parameters and buffers as they are now."""
        return state_hash(self.encoder)

    @torch.no_grad()
    def calibrated(self, images: ImageSet) -> NetworkDescriptor:
        """A copy whose BatchNorm statistics are the averages over up to 1,024 of `images`, evenly spread."""
        encoder = copy.deepcopy(self.encoder)
        norms = [part for part in encoder.modules() if isinstance(part, nn.BatchNorm2d)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # cumulative average
            norm.train()
        count = min(len(images), _CALIBRATION_IMAGES)
        indices = torch.linspace(0, len(images) - 1, count).round().long()
        for batch in torch.split(indices, _BATCH):
            encoder.maps(self._network_input(images.read(batch)), [list(encoder.taps)[-1]])
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum  # a copy that is trained further must follow its weights
        return self.with_encoder(encoder)

    def with_encoder(self, encoder: Encoder) -> NetworkDescriptor:
        """The same tap, pooled the same way, of another encoder whose BatchNorm statistics are settled."""
        return NetworkDescriptor(
            self.name,
            encoder,
            self.tap,
            pool=self.pool,
            mean_fill=self.mean_fill,
            notes=self.notes,
            device=str(self._device),
        )

    def at(self, tap: str, pool: int | str) -> NetworkDescriptor:
        """The same encoder at a tap, pooled to a grid."""
        return NetworkDescriptor(
            self.name, self.encoder, tap, pool=pool, mean_fill=self.mean_fill, device=str(self._device)
        )

    def trainable(self) -> Encoder:
        """A fresh copy of the encoder in training mode, every parameter requiring gradients."""
        encoder: Any = copy.deepcopy(self.encoder).train().requires_grad_(True)
        return encoder  # type: ignore[no-any-return]

    def _describe_taps(
        self, images: Tensor, holes: Tensor | None, taps: Mapping[str, NetworkDescriptor]
    ) -> dict[str, Tensor]:
        self.encoder.eval()
        if not len(images):
            return {key: torch.empty(0, one.dim(*images.shape[2:])) for key, one in taps.items()}
        found: dict[str, list[Tensor]] = {key: [] for key in taps}
        for start in range(0, len(images), _BATCH):
            part = slice(start, start + _BATCH)
            maps = self._maps(images[part], None if holes is None else holes[part], [one.tap for one in taps.values()])
            for key, one in taps.items():
                found[key].append(one._pooled(maps[one.tap]))
        return {key: torch.cat(parts) for key, parts in found.items()}

    def _maps(self, images: Tensor, holes: Tensor | None, taps: Sequence[str]) -> dict[str, Tensor]:
        images = images.to(self._device)
        if holes is not None:
            fill = torch.tensor(self.mean_fill, dtype=torch.uint8, device=self._device).view(1, 3, 1, 1)
            images = torch.where(holes.to(self._device), fill, images)
        maps: dict[str, Tensor] = self.encoder.maps(self._network_input(images), taps)
        return maps

    def _pooled(self, found: Tensor) -> Tensor:
        """The map (n, channels, h, w) on its grid: float32 (n, dim), on the CPU."""
        if isinstance(self.pool, int):
            found = F.adaptive_avg_pool2d(found, (min(found.shape[2], self.pool), min(found.shape[3], self.pool)))
        return found.flatten(1).float().cpu()

    def _network_input(self, images: Tensor) -> Tensor:
        """Laid out as the encoder's weights are, while a pixel is one byte and not four."""
        spec: InputSpec = self.encoder.input
        return spec.normalize(resized(images.to(self._device), spec.size).to(memory_format=torch.channels_last))
