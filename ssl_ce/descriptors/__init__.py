"""Descriptors: anything that maps images to vectors. `load_descriptor("hog?cell=4")`, `("runs/x@conv4")`.

A registered target is called with the reference's options as keyword arguments and returns a `Descriptor`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ssl_ce.registry import Registry

if TYPE_CHECKING:
    from ssl_ce.descriptors.base import Descriptor

descriptors: Registry[Callable[..., Descriptor]] = Registry("descriptor", "ssl_ce.descriptors")
descriptors.add("pixels", "ssl_ce.descriptors.pixels:Pixels", "the pixels themselves, resized to a small square")
descriptors.add("color-histogram", "ssl_ce.descriptors.color:ColorHistogram", "a joint histogram of colours")
descriptors.add("hog", "ssl_ce.descriptors.hog:Hog", "histograms of oriented gradients (Dalal and Triggs, 2005)")
descriptors.add("gist", "ssl_ce.descriptors.gist:Gist", "the spatial envelope (Oliva and Torralba, 2001)")


def load_descriptor(reference: str, device: str = "cpu") -> Descriptor:
    """The descriptor that `reference` names, learned ones on `device`. Errors name what is wrong (`UserError`)."""
    from ssl_ce.descriptors.loading import load

    return load(reference, device)


__all__ = ["descriptors", "load_descriptor"]
