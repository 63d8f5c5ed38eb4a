"""What every encoder offers: an input specification, named taps, and maps at those taps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ssl_ce.data.views import resized
from ssl_ce.errors import UserError, unknown
from ssl_ce.settings import Settings, Side, Size, Width


class EncoderConfig(Settings):
    """Which encoder, and its axes.

    Attributes
    ----------
    name
        A registered encoder ("alexnet", "resnet18"), or "timm:NAME" for a convolutional network of timm's.
    width
        Factor on the number of channels of every layer.
    norm
        "batch" puts BatchNorm after each convolution of an encoder whose publication has none ("none").
    pool_free
        Replace every pooling layer by a convolution of the same kernel and stride.
    patch
        Side of a patch in pixels, of `vit` only.
    depth
        Number of blocks, of `vit` only.
    """

    name: str = "alexnet"
    width: Width = 1.0
    norm: Literal["none", "batch"] = "none"
    pool_free: bool = False
    patch: Side | None = None
    depth: Size | None = None


def build_encoder(config: EncoderConfig, size: int) -> Encoder:
    """The encoder that `config` names, for square images of `size` pixels. Its weights follow torch's generator."""
    from ssl_ce.networks import encoders

    if config.name.startswith("timm:"):
        from ssl_ce.networks.timm_encoders import timm_backbone

        return timm_backbone(size, config)
    return encoders.get(config.name)(size, config)


def refuse_axes(config: EncoderConfig, *axes: str) -> None:
    """Refuse (`UserError`) a configuration that sets one of `axes`, which its encoder does not have."""
    for axis in axes:
        if getattr(config, axis) != EncoderConfig.model_fields[axis].default:
            raise UserError(f"The encoder '{config.name}' has no {axis} to set: leave encoder.{axis} alone.")


@dataclass(frozen=True)
class InputSpec:
    """What an encoder expects: square images of `size` pixels, values (x / 255 - mean) / std, RGB."""

    size: int
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 (n, 3, h, w) -> float32 of the same shape, as the encoder expects its values."""
        mean = torch.tensor(self.mean, device=images.device).view(3, 1, 1) * 255.0
        std = torch.tensor(self.std, device=images.device).view(3, 1, 1) * 255.0
        return images.to(torch.float32, copy=True).sub_(mean).div_(std)

    def prepare(self, images: Tensor) -> Tensor:
        """uint8 (n, 3, h, w) of any size -> normalised float32 (n, 3, size, size), by antialiased bicubic resizing."""
        return self.normalize(resized(images, self.size))


@runtime_checkable
class Encoder(Protocol):
    """A network with named layers. It is also an `nn.Module`.

    Attributes
    ----------
    input
        What goes in.
    taps
        {name: (channels, stride)}, from the input to the last layer.
    """

    input: InputSpec
    taps: Mapping[str, tuple[int, int]]

    def maps(self, x: Tensor, taps: Iterable[str]) -> dict[str, Tensor]:
        """Normalised images (n, 3, size, size) -> {tap: (n, channels, h, w)}."""
        ...


class StagedEncoder(nn.Module):
    """An encoder made of named stages in a row; each stage is a tap.

    Parameters
    ----------
    spec
        The input it is built for.
    stages
        {tap: module}, in order.
    """

    def __init__(self, spec: InputSpec, stages: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.input = spec
        self.stages = nn.ModuleDict(dict(stages))
        self.taps: Mapping[str, tuple[int, int]] = _measure_taps(self.stages, spec.size)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (n, 3, size, size) -> the last stage's map (n, channels, h, w)."""
        for stage in self.stages.values():
            x = stage(x)
        return x

    def maps(self, x: Tensor, taps: Iterable[str]) -> dict[str, Tensor]:
        """Normalised images (n, 3, size, size) -> {tap: (n, channels, h, w)}; nothing past the last tap is run."""
        wanted = wanted_taps(self, taps)
        found: dict[str, Tensor] = {}
        for name, stage in self.stages.items():
            x = stage(x)
            if name in wanted:
                found[name] = x
            if len(found) == len(wanted):
                break
        return found

    def output_shape(self) -> tuple[int, int, int]:
        """(channels, h, w) of the last stage."""
        return tap_shape(self, list(self.taps)[-1])


def wanted_taps(encoder: Encoder, taps: Iterable[str]) -> set[str]:
    """`taps`, each once. Raises `UserError` with the closest if the encoder has not one of them."""
    wanted = set(taps)
    for tap in wanted:
        if tap not in encoder.taps:
            raise unknown("tap", tap, encoder.taps)
    return wanted


def tap_shape(encoder: Encoder, tap: str) -> tuple[int, int, int]:
    """(channels, h, w) of one tap's map, found by running one blank image through a copy's evaluation mode."""
    module = encoder if isinstance(encoder, nn.Module) else None
    training = module.training if module is not None else False
    device = next(module.parameters()).device if module is not None else torch.device("cpu")
    if module is not None:
        module.eval()
    with torch.no_grad():
        size = encoder.input.size
        found = encoder.maps(torch.zeros(1, 3, size, size, device=device), [tap])[tap]
    if module is not None:
        module.train(training)
    return tuple(found.shape[1:])  # type: ignore[return-value]


def _measure_taps(stages: nn.ModuleDict, size: int) -> dict[str, tuple[int, int]]:
    taps: dict[str, tuple[int, int]] = {}
    was_training = stages.training
    stages.eval()
    with torch.no_grad():
        x = torch.zeros(1, 3, size, size)
        for name, stage in stages.items():
            x = stage(x)
            taps[name] = (x.shape[1], round(size / x.shape[-1]))
    stages.train(was_training)
    return taps
