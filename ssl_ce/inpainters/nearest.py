"""Holes filled from the nearest training context (Pathak et al., CVPR 2016, section 5.1: NN-inpainting)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_ce.data.imageset import ImageSet
from ssl_ce.descriptors.base import Descriptor
from ssl_ce.descriptors.cache import FeatureCache
from ssl_ce.errors import UserError, unknown
from ssl_ce.files import digest
from ssl_ce.images import as_holes, as_images
from ssl_ce.inpainters.base import Inpainter
from ssl_ce.inpainters.blending import BLENDS
from ssl_ce.inpainters.fitting import best_fit, fitted
from ssl_ce.references import check_whole
from ssl_ce.search import Metric, nearest

MOST_HOLES = 16
"""Different holes in one call where training images are described under each: `index="bank"`."""

Index = Literal["bank", "full"]
INDEXES: tuple[Index, ...] = ("bank", "full")

Places = NDArray[np.int64]


class Nearest:
    """Finds the training images whose contexts are nearest, and fills the hole from one of them.

    Contexts are compared by the cosine (or Euclidean distance) of the features as they come, without standardising.
    A training image that equals the query in every pixel of its context is the query: it is left out, and counted in
    `left_out`.

    Parameters
    ----------
    descriptor
        Describes contexts.
    searched
        The training images, read when needed and never held.
    k
        So many nearest contexts are fetched; the one that fits best beside the hole is used (`best_fit`).
    fill
        "paste", "poisson" or "seamless-clone": `ssl_ce.inpainters.blending`.
    align
        Pixels that a candidate may be moved each way to fit; with any, three scales are tried too. 0: neither.
    index
        "bank": training images are described under the query's own hole, by the descriptor's own treatment of holes,
        so that both sides are alike; every different hole costs one description of all of them, kept in the feature
        cache. "full": they are described once, as whole images, for any holes.
    complete
        An inpainter that completes the query before it is described, as a whole image then, whatever `index` says:
        non-parametric inpainting initialised by a parametric one (the paper's section 5.1).
    cache
        Where features are kept; the default cache when None.
    metric
        "cosine" or "l2".
    device
        Where the search runs: "cpu" or "cuda". The answer is the same.
    name
        What it is called, if not by its options.

    Raises
    ------
    UserError
        If an option is none of these, or there are fewer than k training images, or they have no common size.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        searched: ImageSet,
        cache: FeatureCache | None = None,
        metric: Metric = "cosine",
        *,
        k: int = 1,
        fill: str = "paste",
        align: int = 0,
        index: Index = "bank",
        complete: Inpainter | None = None,
        device: str = "cpu",
        name: str | None = None,
    ) -> None:
        self.name = name or _name(descriptor, k=k, fill=fill, align=align, index=index, complete=complete)
        check_whole(self.name, "k", k, 1, 1000)
        check_whole(self.name, "align", align, 0, 64)
        if fill not in BLENDS:
            raise unknown(f"way to fill of '{self.name}'", str(fill), BLENDS)
        if index not in INDEXES:
            raise unknown(f"index of '{self.name}'", str(index), INDEXES)
        if searched.size is None:
            raise UserError(f"The images of '{searched.name}' have no common size. Pack them first (ce data pack).")
        if len(searched) < k:
            raise UserError(
                f"'{self.name}' wants {k} neighbours, and '{searched.name}' has {len(searched)} images to search. "
                "Give more images, or a smaller k."
            )
        descriptor.dim(*searched.size)  # one that cannot describe images of this size says so now
        self.identity = digest(
            "nearest", "2", descriptor.identity, searched.fingerprint, metric, str(k), fill, str(align), index,
            "" if complete is None else complete.identity,
        )  # fmt: skip
        self.descriptor = descriptor
        self.index = searched
        self.size = searched.size[0] if searched.size[0] == searched.size[1] else None
        self.reach = float(getattr(complete, "reach", 1.0))
        self.metric: Metric = metric
        self.left_out = 0
        self._k, self._blend, self._align = k, BLENDS[fill], align
        self._whole = index == "full" or complete is not None
        self._complete, self._device = complete, device
        self._cache = FeatureCache() if cache is None else cache

    @property
    def notes(self) -> dict[str, Any]:
        """What records say of the descriptor that it searches by."""
        notes: dict[str, Any] = getattr(self.descriptor, "notes", {})
        return notes

    def fill(self, images: Tensor, holes: Tensor) -> Tensor:
        """uint8 (n, 3, h, w), bool (n, 1, h, w), True = missing -> uint8 (n, 3, h, w), on the CPU.

        Raises
        ------
        UserError
            If the images are not of the training images' size; if with `index="bank"` more than `MOST_HOLES` different
            holes were given; if fewer than k training images are left for a query.
        """
        images, holes = self._checked(images, holes)
        result = images.clone()
        for row, places in enumerate(self.neighbours(images, holes, self._k)):
            if not bool(holes[row].any()):
                continue
            source = candidates = self.index.read(places)
            if self._k > 1 or self._align:
                source = fitted(candidates, best_fit(images[row], holes[row], candidates, self._align))[None]
            result[row] = self._blend(images[row], holes[row], source[0])
        return result

    def neighbours(self, images: Tensor, holes: Tensor, k: int) -> Places:
        """The places in `index` of the `k` nearest training contexts, nearest first: int64 (n, k). Errors as
        in `fill`."""
        images, holes = self._checked(images, holes)
        result = np.empty((len(images), k), np.int64)
        for rows, hole in self._groups(holes):
            queries = self._describe(images[rows], holes[rows])
            base = self._cache.features(self.descriptor, self.index, hole)
            pending, fetched = np.arange(len(rows)), min(k + 1, len(base))
            while len(pending):
                _, found = nearest(queries[pending], base, fetched, metric=self.metric, device=self._device)
                short = []
                for place, candidates in zip(pending, found, strict=True):
                    row = rows[place]
                    others, equal = self._others(images[row], holes[row], candidates, k)
                    if len(others) < k:
                        short.append(place)
                        continue
                    result[row] = others
                    self.left_out += equal
                if short and fetched == len(base):
                    raise UserError(
                        f"'{self.name}' finds fewer than {k} images in '{self.index.name}' that are not the image to "
                        "fill itself. Give more images to search, or a smaller k."
                    )
                pending, fetched = np.array(short, np.int64), min(2 * fetched, len(base))
        return result

    def check_holes(self, holes: Tensor) -> None:
        """Raise `UserError` for more than `MOST_HOLES` different holes, bool (n, 1, h, w), with `index="bank"`."""
        if not self._whole and len(torch.unique(holes, dim=0)) > MOST_HOLES:
            raise UserError(
                f"'{self.name}' describes its training images for each hole anew, and was given more than {MOST_HOLES} "
                "different ones. Use ce evaluate nn-inpainting, with its bank of masks, or describe whole training "
                f"images once: nearest?index=full:{self.descriptor.name}"
            )

    def state_hash(self) -> str:
        """The descriptor's, and that of what completes the query."""
        if self._complete is None:
            return self.descriptor.state_hash()
        return digest(self.descriptor.state_hash(), self._complete.state_hash())

    def _describe(self, images: Tensor, holes: Tensor) -> NDArray[np.float32]:
        if self._complete is not None:
            return self.descriptor.describe(self._complete.fill(images, holes)).numpy()
        return self.descriptor.describe(images, holes).numpy()

    def _others(self, image: Tensor, hole: Tensor, places: Places, k: int) -> tuple[Places, int]:
        """The first `k` of `places` that are not the image itself, and how many before the last of them are."""
        kept: list[int] = []
        equal = 0
        for place in places:
            if bool(((self.index.read([int(place)])[0] == image) | hole).all()):
                equal += 1
            else:
                kept.append(int(place))
            if len(kept) == k:
                break
        return np.array(kept, np.int64), equal

    def _checked(self, images: Tensor, holes: Tensor) -> tuple[Tensor, Tensor]:
        images = as_images(images).cpu()
        holes = as_holes(holes, images).cpu()
        if tuple(images.shape[2:]) != self.index.size:
            raise UserError(
                f"'{self.name}' searches images of {self.index.size} pixels, and those to fill have "
                f"{tuple(images.shape[2:])}. Pack both at one size (--size)."
            )
        return images, holes

    def _groups(self, holes: Tensor) -> Iterator[tuple[Places, Tensor | None]]:
        """Rows that are searched in one index, and the hole under which that is described (None: none)."""
        if self._whole:
            if len(holes):
                yield np.arange(len(holes)), None
            return
        self.check_holes(holes)
        groups: dict[bytes, list[int]] = {}
        for row, hole in enumerate(np.packbits(holes.flatten(1).numpy(), axis=1)):
            groups.setdefault(hole.tobytes(), []).append(row)
        for rows in groups.values():
            yield np.array(rows), holes[rows[:1]]


def _name(descriptor: Descriptor, *, complete: Inpainter | None, **options: object) -> str:
    """The shortest reference that makes a `Nearest` again."""
    presets = {"k": 1, "fill": "paste", "align": 0, "index": "bank"}
    given = [f"{option}={value}" for option, value in options.items() if value != presets[option]]
    given += [] if complete is None else [f"complete={complete.name}"]
    return f"nearest{'?' if given else ''}{'&'.join(given)}:{descriptor.name}"
