"""Feeds the loop: the epoch's order, uint8 batches on the device, cropped and flipped there."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from ssl_ce.data.imageset import ImageSet
from ssl_ce.data.packing import enter_epoch, epoch_order, is_decoded
from ssl_ce.data.views import random_crop, random_flip
from ssl_ce.errors import UserError
from ssl_ce.methods.base import Batch, Method
from ssl_ce.randomness import sample_keys

# Pixels, indices, labels, and the epoch.
_Read = tuple[Tensor, Tensor, Tensor | None, int]

# A packed set is kept in GPU memory if it takes at most this share of what is free.
_RESIDENT_SHARE = 0.5


class Feed:
    """Batches of one image set, each a pure function of (seed, step).

    Parameters
    ----------
    images
        A packed set, or a sharded one.
    size
        Side of the crops, in pixels; at most the set's.
    batch_size
        Images a step; an epoch's last, incomplete batch is left out.
    rank, processes
        Where several processes share each batch: which of them this is, from 0. It reads its part alone, one piece.

    Raises
    ------
    UserError
        If a batch does not divide among the processes.
    """

    def __init__(
        self,
        images: ImageSet,
        *,
        size: int,
        batch_size: int,
        flip: bool,
        seed: int,
        device: torch.device,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.images = images
        self.size = size
        self.batch_size = min(batch_size, len(images))
        self.flip = flip
        self.seed = seed
        self.device = device
        if self.batch_size % processes:
            raise UserError(
                f"A batch of {self.batch_size} images does not divide among {processes} processes, which each take an "
                "equal part. Give another --batch-size, or other --devices."
            )
        self._share = self.batch_size // processes
        self._offset = rank * self._share
        self.steps_per_epoch = len(images) // self.batch_size
        self._resident = self._load_resident()

    def batches(self, first_step: int, last_step: int) -> Iterator[Batch]:
        """The batches of steps `first_step` (from 0) to `last_step`.

        The next batch is read while this one is used, and the next epoch's order drawn while this epoch lasts.
        """
        last_epoch = (last_step - 1) // self.steps_per_epoch
        with ThreadPoolExecutor(1, "feed") as reader, ThreadPoolExecutor(1, "order") as drawer:
            pending: Future[_Read] | None = None
            orders: dict[int, Future[Tensor]] = {}
            entered = -1
            for step in range(first_step, last_step + 1):
                following = None
                if step < last_step:
                    epoch, place = divmod(step, self.steps_per_epoch)
                    for due in range(epoch, min(epoch + 1, last_epoch) + 1):
                        if due not in orders:
                            orders[due] = drawer.submit(epoch_order, self.images, self.seed, due)
                    orders.pop(epoch - 1, None)
                    start = place * self.batch_size + self._offset
                    indices = orders[epoch].result()[start : start + self._share]
                    following = reader.submit(self._read, indices, epoch, entering=epoch != entered)
                    entered = epoch
                if pending is not None:
                    yield self._view(*pending.result())
                pending = following

    def describe(self) -> dict[str, Any]:
        """What the manifest says of the images."""
        images = self.images
        return {
            "name": images.name,
            "split": images.split,
            "n": len(images),
            "size": images.size,
            "fingerprint": images.fingerprint,
            "source": images.source,
        }

    def _read(self, indices: Tensor, epoch: int, *, entering: bool) -> _Read:
        if entering:
            enter_epoch(self.images, self.seed, epoch)
        labels = None
        if self.images.task == "classes":
            labels = torch.from_numpy(self.images.targets(indices)).to(self.device)
        if self._resident is not None:
            return self._resident[indices.to(self.device)], indices.to(self.device), labels, epoch
        pixels = self.images.read(indices)
        if self.device.type == "cuda":
            pixels = pixels.pin_memory().to(self.device, non_blocking=True)
        return pixels, indices.to(self.device), labels, epoch

    def _view(self, pixels: Tensor, indices: Tensor, labels: Tensor | None, epoch: int) -> Batch:
        if pixels.shape[-1] != self.size or pixels.shape[-2] != self.size:
            pixels = random_crop(pixels, sample_keys(self.seed, epoch, indices, "crop"), self.size)
        if self.flip:
            pixels = random_flip(pixels, sample_keys(self.seed, epoch, indices, "flip"))
        return Batch(pixels, indices, self.seed, epoch, labels)

    def _load_resident(self) -> Tensor | None:
        if self.device.type != "cuda" or self.images.size is None or not is_decoded(self.images):
            return None
        height, width = self.images.size
        needed = len(self.images) * 3 * height * width
        if needed > _RESIDENT_SHARE * torch.cuda.mem_get_info(self.device)[0]:
            return None
        resident = torch.empty(len(self.images), 3, height, width, dtype=torch.uint8, device=self.device)
        for start in range(0, len(self.images), 1024):
            indices = torch.arange(start, min(start + 1024, len(self.images)))
            resident[start : start + len(indices)] = self.images.read(indices).to(self.device)
        return resident


def crop_size(method: Method, images: ImageSet) -> int:
    """The side in pixels that `method` trains on. Raises `UserError` if `images` are smaller, or not packed."""
    size = method.encoder.input.size
    if images.size is None or min(images.size) < size:
        packed = "not packed" if images.size is None else f"packed at {images.size[0]} x {images.size[1]}"
        raise UserError(
            f"The recipe trains on {size} x {size} pixels and the images are {packed}. "
            f"Pack them at {size} or more (ce data pack REF --size {size} --out FILE)."
        )
    return size
