"""Inpainters: anything that fills holes. `load_inpainter("telea")`, `load_inpainter("runs/x")`, `"nearest:hog"`.

A registered target is called with the reference's options as keyword arguments and returns an `Inpainter`. One that
takes an argument `searched` is given the image set that is searched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ssl_ce.registry import Registry

if TYPE_CHECKING:
    from ssl_ce.data.imageset import ImageSet
    from ssl_ce.inpainters.base import Inpainter

inpainters: Registry[Callable[..., Inpainter]] = Registry("inpainter", "ssl_ce.inpainters")
inpainters.add("mean-color", "ssl_ce.inpainters.classical:MeanColor", "the mean colour of the context")
inpainters.add("telea", "ssl_ce.inpainters.classical:Telea", "fast marching (Telea, 2004), by OpenCV")
inpainters.add(
    "navier-stokes",
    "ssl_ce.inpainters.classical:NavierStokes",
    "fluid dynamics (Bertalmio et al., 2001), by OpenCV",
)
inpainters.add(
    "biharmonic",
    "ssl_ce.inpainters.biharmonic:Biharmonic",
    "smoothest continuation (Damelin and Hoang, 2018), by scikit-image",
)
inpainters.add(
    "shift-map",
    "ssl_ce.inpainters.xphoto:ShiftMap",
    "stitched from shifted context (He and Sun, 2012), by OpenCV",
)
inpainters.add(
    "fsr",
    "ssl_ce.inpainters.xphoto:FrequencySelective",
    "frequency selective reconstruction (Seiler et al., 2015), by OpenCV",
)
inpainters.add(
    "scene-completion",
    "ssl_ce.inpainters.scene_completion:scene_completion",
    "nearest contexts by GIST, aligned and blended (Hays and Efros, 2007)",
)


def load_inpainter(reference: str, index: ImageSet | None = None, device: str = "cpu") -> Inpainter:
    """The inpainter that `reference` names. `index` is the image set that `nearest:...` and `scene-completion`
    search."""
    from ssl_ce.inpainters.loading import load

    return load(reference, index, device)


def searches(reference: str) -> bool:
    """Whether the inpainter that `reference` names searches an image set."""
    from ssl_ce.inpainters.loading import searches

    return searches(reference)


__all__ = ["inpainters", "load_inpainter", "searches"]
