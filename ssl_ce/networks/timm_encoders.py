"""`timm:NAME`: any convolutional backbone of timm's as an encoder, without pretrained weights (extra `timm`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ssl_ce.errors import UserError, unknown
from ssl_ce.networks.encoder import EncoderConfig, InputSpec, refuse_axes, wanted_taps

PREFIX = "timm:"


def timm_backbone(size: int, config: EncoderConfig) -> TimmEncoder:
    """The backbone that `config.name` ("timm:convnext_atto") names, for square images of `size` pixels.

    Weights are timm's initial ones and follow torch's generator. Source: Wightman, "PyTorch Image Models".

    Raises
    ------
    UserError
        If timm is not installed or knows no such model, or the model gives no maps at this size.
    """
    refuse_axes(config, "width", "norm", "pool_free", "patch", "depth")
    name = config.name.removeprefix(PREFIX)
    try:
        import timm
    except ImportError as error:
        raise UserError(f"{config.name} needs the extra 'timm': pip install 'ssl-ce[timm]'") from error
    if name.partition(".")[0] not in timm.list_models():
        raise unknown("timm model", name, timm.list_models())
    try:
        return TimmEncoder(timm.create_model(name, pretrained=False, features_only=True), InputSpec(size))
    except Exception as error:  # timm's models refuse what they cannot do in many ways
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise UserError(
            f"{config.name} cannot be an encoder of images of {size} pixels: {reason}. It takes a network "
            "that gives maps, as convolutional ones do; choose another, or another size."
        ) from error


def joined(key: str) -> str:
    """A tensor's name with "_" for ".": "stages_0" where timm takes features is "stages.0" elsewhere."""
    return key.replace(".", "_")


class TimmEncoder(nn.Module):
    """A timm model made with `features_only=True`; each of its features is a tap.

    Taps have the names of the modules whose output they are, "_" for ".": act1, layer1 ...; stages_0, stages_1 ...

    Parameters
    ----------
    model
        Called with images, it returns the list of its features' maps.
    spec
        The input it is used for.
    """

    def __init__(self, model: nn.Module, spec: InputSpec) -> None:
        super().__init__()
        self.input = spec
        self.model = model
        information: Any = model.feature_info
        names = [str(name).replace(".", "_") for name in information.module_name()]
        was_training = model.training
        model.eval()
        with torch.no_grad():
            maps = model(torch.zeros(1, 3, spec.size, spec.size))
        model.train(was_training)
        shapes = [tuple(found.shape) for found in maps]
        for shape, channels in zip(shapes, information.channels(), strict=True):
            if len(shape) != 4 or shape[1] != channels or shape[2] != shape[3]:
                raise UserError(f"it gives features of shape {shape[1:]}, no maps of {channels} channels")
        self._shape = (int(shapes[-1][1]), int(shapes[-1][2]), int(shapes[-1][3]))
        self.taps: Mapping[str, tuple[int, int]] = {
            name: (shape[1], round(spec.size / shape[2])) for name, shape in zip(names, shapes, strict=True)
        }

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (n, 3, size, size) -> the last tap's map (n, channels, h, w)."""
        last: Tensor = self.model(x)[-1]
        return last

    def maps(self, x: Tensor, taps: Iterable[str]) -> dict[str, Tensor]:
        """Normalised images (n, 3, size, size) -> {tap: (n, channels, h, w)}; the whole network is run."""
        wanted = wanted_taps(self, taps)
        return {tap: found for tap, found in zip(self.taps, self.model(x), strict=True) if tap in wanted}

    def output_shape(self) -> tuple[int, int, int]:
        """(channels, h, w) of the last tap."""
        return self._shape
