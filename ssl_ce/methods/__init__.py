"""Methods: pretext tasks. A registered target is called as `Method(config, seed)`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssl_ce.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from ssl_ce.methods.base import Method

methods: Registry[Callable[..., Method]] = Registry("method", "ssl_ce.methods")
for _name, _target, _summary in (
    (
        "context-encoder",
        "context_encoder:ContextEncoder",
        "fill dropped-out regions from their context (Pathak et al., 2016)",
    ),
    ("autoencoder", "autoencoder:Autoencoder", "reconstruct the image from its code: a bottleneck only"),
    (
        "denoising-autoencoder",
        "autoencoder:DenoisingAutoencoder",
        "undo corruption of single pixels (Vincent et al., 2008)",
    ),
    ("vae", "vae:Vae", "masked image -> Gaussian code -> whole image (Kingma and Welling, 2014)"),
    ("gan", "gan:Gan", "masked image -> code -> whole image, judged by a strong adversary"),
    ("mae", "mae:Mae", "predict missing patches from visible ones with a small ViT (He et al., 2022)"),
    ("random-init", "supervised:RandomInit", "a floor: nothing is learnt but BatchNorm's statistics"),
    ("supervised", "supervised:Supervised", "a ceiling: the encoder trained on the labels"),
):
    methods.add(_name, f"ssl_ce.methods.{_target}", _summary)

__all__ = ["methods"]
