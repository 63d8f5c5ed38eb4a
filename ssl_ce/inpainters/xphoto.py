"""The two inpainters of OpenCV's extra module `xphoto`. Its masks say what is known: zero = missing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from ssl_ce.errors import UserError, unknown
from ssl_ce.inpainters.each_image import EachImage

# FSR works in blocks of 16 pixels, and leaves what is over at the right and at the bottom unfilled.
_BLOCK = 16
# In less than 128 x 128 pixels there are often fewer than the 60 frequent shifts that the shift-map reads.
_LEAST_AREA = 128 * 128
# Beyond this OpenCV's shift-map works on a smaller copy, and a context pixel may move a little.
_WORKED_ON_AS_IT_IS = 800


@dataclass
class ShiftMap(EachImage):
    """The hole stitched from copies of the context, each moved by one of the 60 most frequent shifts between similar
    patches (He and Sun, "Statistics of patch offsets for image completion", ECCV 2012), by OpenCV, on CIELab.

    Images of less than 128 x 128 pixels are enlarged by a whole number first, each pixel repeated: shifts shorter than
    16 pixels are not considered. A missing pixel to which none of the shifts brings context takes the colour of the
    nearest pixel that has one, where OpenCV leaves it green. An image so plain that it has fewer than 60 shifts is
    refused if OpenCV's result depends on what else is in memory.
    """

    registered: ClassVar[str] = "shift-map"

    def __post_init__(self) -> None:
        _need_xphoto(self.registered)
        super().__post_init__()

    def fill_one(self, image: NDArray[np.uint8], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """See `EachImage.fill_one`."""
        lab = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2Lab), np.uint8)
        # In 8 bits no colour is (0, 0, 0): black is (0, 128, 128). What still is afterwards was not filled.
        lab[hole] = 0
        times = math.ceil(math.sqrt(_LEAST_AREA / hole.size))
        large, missing = lab.repeat(times, 0).repeat(times, 1), hole.repeat(times, 0).repeat(times, 1)
        filled = _inpaint(large, missing, cv2.xphoto.INPAINT_SHIFTMAP)
        _check_shifts(large, filled, missing)
        filled = filled[times // 2 :: times, times // 2 :: times]
        nearest = distance_transform_edt(~filled.any(-1), return_distances=False, return_indices=True)
        return np.asarray(cv2.cvtColor(filled[tuple(nearest)], cv2.COLOR_Lab2RGB), np.uint8)


@dataclass
class FrequencySelective(EachImage):
    """Frequency selective reconstruction: block by block, a sum of few Fourier functions that fits what is known
    around it (Seiler et al., "Resampling images to a regular grid from a non-regular subset of pixel positions using
    frequency selective reconstruction", IEEE TIP 24(11), 2015; Genser et al., PCS 2018), by OpenCV.

    Images whose sides are no multiples of 16 are mirrored, with their holes, at the right and at the bottom.

    Parameters
    ----------
    quality
        "fast", or "best" with smaller blocks, larger transforms and more iterations.
    """

    registered: ClassVar[str] = "fsr"
    quality: str = "fast"

    def __post_init__(self) -> None:
        if self.quality not in ("fast", "best"):
            raise unknown("quality of 'fsr'", str(self.quality), ("fast", "best"))
        _need_xphoto(self.registered)
        super().__post_init__()

    def fill_one(self, image: NDArray[np.uint8], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """See `EachImage.fill_one`."""
        height, width = hole.shape
        beyond = ((0, -height % _BLOCK), (0, -width % _BLOCK))
        best, fast = cv2.xphoto.INPAINT_FSR_BEST, cv2.xphoto.INPAINT_FSR_FAST
        filled = _inpaint(
            np.pad(image[..., ::-1], (*beyond, (0, 0)), "symmetric"),
            np.pad(hole, beyond, "symmetric"),
            best if self.quality == "best" else fast,
        )
        return filled[:height, :width, ::-1]


def _inpaint(image: NDArray[np.uint8], hole: NDArray[np.bool_], algorithm: int) -> NDArray[np.uint8]:
    """`cv2.xphoto.inpaint`: uint8 (h, w, 3) in the algorithm's colours, bool (h, w), True = missing -> the same."""
    filled = np.zeros(image.shape, np.uint8)
    cv2.xphoto.inpaint(np.ascontiguousarray(image), np.where(hole, 0, 255).astype(np.uint8), filled, algorithm)
    return filled


def _check_shifts(given: NDArray[np.uint8], filled: NDArray[np.uint8], hole: NDArray[np.bool_]) -> None:
    """Refuse a shift-map that was made with a number from beyond the list of its shifts.

    After the 60 frequent shifts OpenCV reads the one by nothing, also when fewer were found and something else stands
    there. Context 3 and 4 pixels from the hole may take that one only, so it comes back unless the number was wrong.
    """
    near, far = (cv2.dilate(hole.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=size) for size in (2, 4))
    margin = np.asarray(near) < np.asarray(far)
    if max(hole.shape) <= _WORKED_ON_AS_IT_IS and not np.array_equal(given[margin], filled[margin]):
        raise UserError(
            "'shift-map' found fewer than 60 shifts in an image that is too plain, and what OpenCV makes of that "
            "differs from call to call. Leave shift-map out for these images."
        )


def _need_xphoto(inpainter: str) -> None:
    if not hasattr(cv2, "xphoto"):
        raise UserError(
            f"'{inpainter}' needs OpenCV's extra modules, and the OpenCV that is installed lacks them. Uninstall it, "
            "then: pip install opencv-contrib-python-headless"
        )
