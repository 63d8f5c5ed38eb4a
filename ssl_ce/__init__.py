"""ssl-ce: learn features by inpainting, and judge any encoder, descriptor or hole-filler honestly.

import ssl_ce
features = ssl_ce.load("runs/mine").describe(images)      # uint8 (n, 3, h, w) -> float32 (n, dim)
filled = ssl_ce.load("telea").fill(images, holes)         # bool holes (n, 1, h, w), True = missing
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ssl_ce.subjects import Subject


def load(reference: str, device: str = "cpu") -> Subject:
    """The subject that `reference` names: a run, an untrained or pretrained network, a descriptor or an inpainter.

    Parameters
    ----------
    reference
        `REF[@TAP][?key=value&...]`: "runs/mine", "runs/mine@conv4", "init:runs/mine", "torchvision:alexnet",
        "hog?cell=4", "telea", ...
    device
        Where a network runs: "cpu" or "cuda".

    Returns
    -------
    Subject
        With `describe(images)`, `fill(images, holes)`, or both, as far as the subject can.
    """
    from ssl_ce.subjects import load_subject

    return load_subject(reference, device)


__all__ = ["__version__", "load"]
