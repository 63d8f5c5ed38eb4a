"""Whether an encoder that is being trained still tells images apart."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ssl_ce.networks.encoder import Encoder

COLLAPSED = 1e-5
"""Below this spread features count as nearly constant: they differ by less than 0.3 % of their length."""


@torch.no_grad()
def feature_spread(encoder: Encoder, images: Tensor) -> float:
    """The share of the features' energy that lies between images, from 0 to 1: sum |f - mean f|^2 / sum |f|^2.

    f is the whole map of the encoder's last tap, so that a map which is the same for all images but not for all places
    is constant. 0 where all images have the same features, or none at all (dead units). Chen and He (SimSiam, CVPR
    2021) watch the deviation of features scaled to length 1 for the same purpose; here a feature whose length alone
    changes still tells images apart.

    With random weights, features are alike but far from constant: from 0.01 (ResNet-50 on digits) to 0.25, over the
    encoders that ship, digits to photographs; a tenth of that was seen in first steps, while BatchNorm's statistics
    settle. `COLLAPSED` is a hundredth of the least that was seen.

    Parameters
    ----------
    encoder
        In evaluation mode, as it would be judged.
    images
        uint8 (n, 3, size, size), n at least 2, on the encoder's device.
    """
    last = list(encoder.taps)[-1]
    features = encoder.maps(encoder.input.normalize(images), [last])[last].flatten(1).double()
    energy = features.square().sum().item()
    return (features - features.mean(0)).square().sum().item() / energy if energy else 0.0


def collapse_warning(spread: float, step: int) -> str:
    """What to say of an encoder with that spread: "" if it has not collapsed."""
    if math.isnan(spread):
        return f"The encoder's features are not numbers at step {step}: its weights have diverged. Stop the training."
    if spread >= COLLAPSED:
        return ""
    return (
        f"The encoder gives nearly the same features for all images at step {step}: {spread:.1g} of their energy is "
        f"between images (feature_spread in log.csv; {COLLAPSED:g} and less is a collapse). Training goes on, but is "
        "hardly worth it: try a smaller --set optim.lr, or --set optim.clip_norm=1; see docs/troubleshooting.md."
    )
