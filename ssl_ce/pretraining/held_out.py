"""Images of the train split that are never trained on, and a method's losses on them."""

from __future__ import annotations

import torch

from ssl_ce.data.imageset import ImageSet
from ssl_ce.data.packing import Subset, epoch_order
from ssl_ce.methods.base import Batch, Method
from ssl_ce.metrics import hole_metrics
from ssl_ce.seeds import derive_seed

_BATCH = 128


def hold_out(images: ImageSet, count: int, seed: int) -> tuple[ImageSet, ImageSet | None]:
    """`images` without `count` of them, drawn by `seed`, and those; or all of them and None if `count` is 0."""
    if count == 0:
        return images, None
    order = epoch_order(images, derive_seed(seed, "held out"), 0)
    kept = order[count:].sort().values
    return Subset(images, kept, images.split), Subset(images, order[:count].sort().values, "held out")


class HeldOut:
    """A method's numbers on held-out images: always the same images, holes and noise.

    Parameters
    ----------
    images
        A packed set; its central `size` x `size` pixels are taken.
    """

    def __init__(self, images: ImageSet, size: int, seed: int, device: torch.device) -> None:
        self.images = images
        self.size = size
        self.seed = derive_seed(seed, "held out")
        self.device = device

    @torch.no_grad()
    def numbers(self, method: Method) -> dict[str, float]:
        """Each player's loss and logs, and the PSNR over the holes (dB, the mean of the images') where it fills.

        The method's networks are in evaluation mode. Names begin with `held_out_`.
        """
        sums: dict[str, float] = {}
        psnr: list[float] = []
        for start in range(0, len(self.images), _BATCH):
            indices = torch.arange(start, min(start + _BATCH, len(self.images)))
            batch = self._batch(indices)
            outputs = method.forward(method.prepare(batch))
            for player in method.players:
                loss, logs = method.loss(player, outputs)
                for name, value in {f"{player}_loss": loss, **logs}.items():
                    sums[name] = sums.get(name, 0.0) + value.item() * len(indices)
            if "fill" in method.capabilities and "holes" in outputs:
                psnr += _psnr(method, batch.images, outputs["holes"])
        numbers = {f"held_out_{name}": value / len(self.images) for name, value in sums.items()}
        return numbers | ({"held_out_psnr": sum(psnr) / len(psnr)} if psnr else {})

    def _batch(self, indices: torch.Tensor) -> Batch:
        pixels = self.images.read(indices)
        top, left = ((length - self.size) // 2 for length in pixels.shape[2:])
        pixels = pixels[..., top : top + self.size, left : left + self.size].to(self.device)
        labels = torch.from_numpy(self.images.targets(indices)).to(self.device)
        return Batch(pixels, indices.to(self.device), self.seed, 0, labels if self.images.task == "classes" else None)


def _psnr(method: Method, images: torch.Tensor, holes: torch.Tensor) -> list[float]:
    """Of each image that has a hole: corruption may happen to spare one."""
    torn = holes.flatten(1).any(1)
    images, holes = images[torn], holes[torn]
    found: list[float] = hole_metrics(method.fill(images, holes).cpu(), images.cpu(), holes.cpu())["psnr"].tolist()
    return found
