"""A small vision transformer of torchvision's blocks, as a map of patches; what a masked autoencoder trains.

Source: Dosovitskiy et al., "An Image is Worth 16x16 Words", arXiv 2010.11929; He et al., "Masked Autoencoders Are
Scalable Vision Learners", arXiv 2111.06377 (fixed sine-cosine positions; the encoder sees visible patches only).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torchvision.models.vision_transformer import EncoderBlock

from ssl_ce.errors import UserError
from ssl_ce.networks.encoder import EncoderConfig, InputSpec, refuse_axes, wanted_taps

_CHANNELS = 192
_DEPTH = 6
_CHANNELS_A_HEAD = 32
_PATCHES_A_SIDE = 8
_EXPANSION = 4


def vit(size: int, config: EncoderConfig) -> PatchEncoder:
    """A ViT of 192 x width channels and 6 blocks, with taps block1 ... for square images of `size` pixels.

    Raises
    ------
    UserError
        If patches do not tile the image.
    """
    refuse_axes(config, "norm", "pool_free")
    patch = config.patch or max(1, size // _PATCHES_A_SIDE)
    if size % patch:
        raise UserError(
            f"Patches of {patch} pixels do not tile images of {size}. Set encoder.patch to a divisor of {size}."
        )
    heads = max(1, round(_CHANNELS * config.width / _CHANNELS_A_HEAD))
    return PatchEncoder(InputSpec(size), patch, heads * _CHANNELS_A_HEAD, heads, config.depth or _DEPTH)


class PatchEncoder(nn.Module):
    """Patches as tokens, through blocks of self-attention. Each block is a tap; its map has one cell for each patch.

    Parameters
    ----------
    spec
        The input it is built for.
    patch
        Side of a patch in pixels.
    channels, heads, depth
        Of the blocks.
    """

    positions: Tensor

    def __init__(self, spec: InputSpec, patch: int, channels: int, heads: int, depth: int) -> None:
        super().__init__()
        self.input = spec
        self.patch = patch
        self.side = spec.size // patch
        self.embed = nn.Conv2d(3, channels, patch, patch)
        self.summary = nn.Parameter(torch.zeros(1, 1, channels))
        self.blocks = nn.ModuleList(transformer_block(channels, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(channels)
        self.register_buffer("positions", sine_cosine_positions(self.side, channels), persistent=False)
        nn.init.xavier_uniform_(self.embed.weight.view(channels, -1))
        assert self.embed.bias is not None
        nn.init.zeros_(self.embed.bias)
        nn.init.normal_(self.summary, std=0.02)
        self.taps: Mapping[str, tuple[int, int]] = {
            f"block{number}": (channels, patch) for number in range(1, depth + 1)
        }

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """The last map, or with `visible` what a masked autoencoder's decoder starts from.

        Normalised images (n, 3, size, size) -> (n, channels, side, side). With `visible`, int64 (n, count) numbers
        of patches, padded with -1: tokens (n, 1 + count, channels), the summary token first; patches that are not
        named never enter.
        """
        if visible is None:
            return self.maps(x, [list(self.taps)[-1]])[list(self.taps)[-1]]
        places = visible.clamp(min=0)[..., None].expand(-1, -1, self.norm.normalized_shape[0])
        tokens = self._with_summary(self._tokens(x).gather(1, places))
        absent = torch.cat([torch.zeros_like(visible[:, :1], dtype=torch.bool), visible < 0], dim=1)
        for block in self.blocks:
            tokens = run_block(block, tokens, absent)
        normed: Tensor = self.norm(tokens)
        return normed

    def maps(self, x: Tensor, taps: Iterable[str]) -> dict[str, Tensor]:
        """Normalised images (n, 3, size, size) -> {tap: (n, channels, side, side)}; the last tap is normalised."""
        wanted = wanted_taps(self, taps)
        found: dict[str, Tensor] = {}
        tokens = self._with_summary(self._tokens(x))
        for name, block in zip(self.taps, self.blocks, strict=True):
            tokens = run_block(block, tokens)
            if name in wanted:
                last = name == f"block{len(self.blocks)}"
                patches = (self.norm(tokens) if last else tokens)[:, 1:]
                found[name] = patches.transpose(1, 2).unflatten(2, (self.side, self.side))
            if len(found) == len(wanted):
                break
        return found

    def output_shape(self) -> tuple[int, int, int]:
        """(channels, side, side)."""
        return int(self.norm.normalized_shape[0]), self.side, self.side

    def _tokens(self, x: Tensor) -> Tensor:
        """(n, 3, size, size) -> (n, patches, channels), positions added."""
        tokens: Tensor = self.embed(x).flatten(2).transpose(1, 2) + self.positions
        return tokens

    def _with_summary(self, tokens: Tensor) -> Tensor:
        return torch.cat([self.summary.expand(len(tokens), -1, -1).to(tokens.dtype), tokens], dim=1)


class PatchDecoder(nn.Module):
    """Predicts the pixels of every patch from tokens of the visible ones.

    Parameters
    ----------
    inputs
        Channels of the encoder's tokens.
    channels, depth
        Of the decoder's blocks.
    side, patch
        Patches a side, and the side of one in pixels.
    """

    positions: Tensor

    def __init__(self, inputs: int, channels: int, side: int, patch: int, depth: int) -> None:
        super().__init__()
        heads = max(1, channels // _CHANNELS_A_HEAD)
        if channels % _CHANNELS_A_HEAD:
            raise UserError(f"The patch decoder's channels are a multiple of {_CHANNELS_A_HEAD}, not {channels}.")
        self.embed = nn.Linear(inputs, channels)
        self.absent = nn.Parameter(torch.zeros(1, 1, channels))
        self.blocks = nn.ModuleList(transformer_block(channels, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(channels)
        self.pixels = nn.Linear(channels, 3 * patch * patch)
        self.register_buffer("positions", sine_cosine_positions(side, channels), persistent=False)
        nn.init.normal_(self.absent, std=0.02)

    def forward(self, tokens: Tensor, visible: Tensor) -> Tensor:
        """Tokens (n, 1 + count, inputs) of the patches `visible`, int64 (n, count) -> (n, patches, 3 x patch²)."""
        embedded = self.embed(tokens)
        count = self.positions.shape[1]
        # One place more than there are patches takes in the padding, and is cut off again.
        places = torch.where(visible < 0, count, visible)[..., None].expand(-1, -1, embedded.shape[2])
        grid = self.absent.to(embedded.dtype).expand(len(tokens), count + 1, -1).scatter(1, places, embedded[:, 1:])
        sequence = torch.cat([embedded[:, :1], grid[:, :count] + self.positions], dim=1)
        for block in self.blocks:
            sequence = run_block(block, sequence)
        pixels: Tensor = self.pixels(self.norm(sequence))[:, 1:]
        return pixels


def transformer_block(channels: int, heads: int) -> EncoderBlock:
    """One of torchvision's pre-norm blocks: attention, then two linear layers, four times as wide between them."""
    return EncoderBlock(heads, channels, _EXPANSION * channels, dropout=0.0, attention_dropout=0.0)


def run_block(block: nn.Module, tokens: Tensor, absent: Tensor | None = None) -> Tensor:
    """What the block's own `forward` computes; tokens that are `absent` (bool (n, count)) are not attended to.

    torchvision's `forward` takes no mask, and images of one batch may show different numbers of patches.
    """
    normed = block.ln_1(tokens)  # type: ignore[operator]
    attended, _ = block.self_attention(  # type: ignore[operator]
        normed, normed, normed, key_padding_mask=absent, need_weights=False
    )
    tokens = tokens + attended
    result: Tensor = tokens + block.mlp(block.ln_2(tokens))  # type: ignore[operator]
    return result


def sine_cosine_positions(side: int, channels: int) -> Tensor:
    """Fixed positions of a grid's cells, row by row: float32 (1, side * side, channels).

    A quarter of the channels each: sine and cosine of the column, sine and cosine of the row, at frequencies from 1
    to 1/10,000 (MAE's `get_2d_sincos_pos_embed`).
    """
    frequencies = torch.exp(-math.log(10_000.0) * torch.arange(channels // 4, dtype=torch.float64) / (channels // 4))
    angles = torch.arange(side, dtype=torch.float64)[:, None] * frequencies
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    columns = waves[None].expand(side, -1, -1)
    rows = waves[:, None].expand(-1, side, -1)
    return torch.cat([columns, rows], dim=2).reshape(1, side * side, -1).float()
