"""The smoothest continuation of the context, by scikit-image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from skimage.restoration import inpaint_biharmonic

from ssl_ce.inpainters.each_image import EachImage


@dataclass
class Biharmonic(EachImage):
    """The biharmonic equation solved over the hole, each channel on its own, cut to the context's range of values
    and rounded (Damelin and Hoang, "On surface completion and image inpainting by biharmonic functions: numerical
    aspects", Int. J. Mathematics and Mathematical Sciences, 2018), by scikit-image.

    Good on scratches. Over a large hole it swings to the ends of that range, and the mean colour is nearer.
    """

    registered: ClassVar[str] = "biharmonic"

    def fill_one(self, image: NDArray[np.uint8], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """See `EachImage.fill_one`."""
        filled = inpaint_biharmonic(image, hole, channel_axis=-1)
        return np.round(255 * np.asarray(filled)).astype(np.uint8)
