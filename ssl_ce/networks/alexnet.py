"""The paper's encoder: AlexNet from conv1 to pool5, at 227 pixels and, with another stem, at all from 32.

Channels are torchvision's (64, 192, 384, 256, 256), so that the 227-pixel encoder's weights load into
`torchvision.models.alexnet`; pool5 is 6 x 6 x 256 = 9,216 activations, as in the paper.
Source: Pathak et al., "Context Encoders", CVPR 2016, section 3.1; Krizhevsky, arXiv 1404.5997.
"""

from __future__ import annotations

import torch
from torch import nn

from ssl_ce.errors import UserError
from ssl_ce.networks.encoder import EncoderConfig, InputSpec, StagedEncoder, refuse_axes
from ssl_ce.networks.layers import convolution, scaled

# Images from this size on: kernel, stride and padding of conv1. pool5 is 3 x 3 at the least.
STEMS = {192: (11, 4, 0), 112: (11, 2, 0), 80: (11, 2, 5), 32: (5, 1, 2)}

# The convolutions after the stem: name, input and output channels, kernel; each is padded to keep its size.
_CONVOLUTIONS = (
    ("conv2", 64, 192, 5),
    ("conv3", 192, 384, 3),
    ("conv4", 384, 256, 3),
    ("conv5", 256, 256, 3),
)
_POOLED_AFTER = {"conv1": "pool1", "conv2": "pool2", "conv5": "pool5"}


def alexnet(size: int, config: EncoderConfig) -> StagedEncoder:
    """AlexNet's convolutional layers for square images of `size` pixels, with taps conv1, pool1, ..., pool5.

    Raises
    ------
    UserError
        If images have fewer than 32 pixels a side.
    """
    refuse_axes(config, "patch", "depth")
    kernel, stride, padding = stem_of(size)
    norm = config.norm == "batch"
    stages: dict[str, nn.Module] = {}

    def add(name: str, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        inputs = inputs if inputs == 3 else scaled(inputs, config.width)
        outputs = scaled(outputs, config.width)
        stages[name] = convolution(inputs, outputs, kernel, stride, padding, norm)
        if name in _POOLED_AFTER:
            stages[_POOLED_AFTER[name]] = (
                convolution(outputs, outputs, 3, 2, 0, norm) if config.pool_free else nn.MaxPool2d(3, 2)
            )

    add("conv1", 3, 64, kernel, stride, padding)
    for name, inputs, outputs, kernel in _CONVOLUTIONS:
        add(name, inputs, outputs, kernel, padding=kernel // 2)
    return StagedEncoder(InputSpec(size), stages)


def alexnet_pool_free(size: int, config: EncoderConfig) -> StagedEncoder:
    """`alexnet` with `pool_free` set, the encoder of the paper's pool-free networks (section 4)."""
    return alexnet(size, config.model_copy(update={"pool_free": True}))


def stem_of(size: int) -> tuple[int, int, int]:
    """Kernel, stride and padding of conv1 for images of `size` pixels. Raises `UserError` below 32."""
    for smallest, stem in STEMS.items():
        if size >= smallest:
            return stem
    raise UserError(f"AlexNet takes images from {min(STEMS)} pixels, not {size}. Use larger ones.")


def torchvision_state(encoder: StagedEncoder) -> dict[str, torch.Tensor]:
    """The encoder's weights under the names of `torchvision.models.alexnet`: {"features.0.weight": ...}.

    A BatchNorm after a convolution is folded into it, so the exported network computes what the encoder computes
    in evaluation mode.

    Raises
    ------
    UserError
        If the encoder is not AlexNet with pooling, at a width and stem that torchvision's shapes allow.
    """
    places = {"conv1": 0, "conv2": 3, "conv3": 6, "conv4": 8, "conv5": 10}
    if set(encoder.stages) != {*places, *_POOLED_AFTER.values()} or not isinstance(
        encoder.stages["pool1"], nn.MaxPool2d
    ):
        raise UserError("Only a pooled AlexNet has torchvision's layout. Export with --format safetensors instead.")
    state: dict[str, torch.Tensor] = {}
    for name, place in places.items():
        stage = encoder.stages[name]
        assert isinstance(stage, nn.Sequential)
        weight, bias = _folded(stage)
        state[f"features.{place}.weight"] = weight
        state[f"features.{place}.bias"] = bias
    shape = tuple(state["features.0.weight"].shape)
    if shape != (64, 3, 11, 11):
        raise UserError(
            f"torchvision's AlexNet begins with 64 filters of 11 x 11 x 3; this encoder's are {shape[0]} of "
            f"{shape[2]} x {shape[3]} x 3. Export with --format safetensors instead."
        )
    return state


def _folded(stage: nn.Sequential) -> tuple[torch.Tensor, torch.Tensor]:
    convolution = stage[0]
    assert isinstance(convolution, nn.Conv2d)
    weight = convolution.weight.detach()
    if not isinstance(stage[1], nn.BatchNorm2d):
        assert convolution.bias is not None
        return weight.clone(), convolution.bias.detach().clone()
    norm = stage[1]
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
    return weight * scale[:, None, None, None], norm.bias.detach() - norm.running_mean * scale
