"""Metrics that look through a network: LPIPS and FID, by torchmetrics. Only on request, and nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssl_ce.data.imageset import ImageSet
from ssl_ce.descriptors.weights_file import read_checkpoint
from ssl_ce.errors import UserError, unknown
from ssl_ce.evaluators.base import Env
from ssl_ce.manifest import versions

PERCEPTUAL = ("lpips", "fid")
FID_FEATURES = 2048
LPIPS_SIDE = 31
"""Sides in pixels below which nothing is left of an image in AlexNet."""

_BATCH = 32


class Lpips:
    """LPIPS of single images (Zhang et al., CVPR 2018, version 0.1).

    Parameters
    ----------
    network
        float32 (n, 3, h, w) in [-1, 1], twice -> n distances.
    """

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._network = network.to(device)
        self._device = device

    @torch.no_grad()
    def between(self, filled: Tensor, truth: Tensor) -> NDArray[np.float64]:
        """uint8 (n, 3, h, w) and the same -> float64 (n,), 0 for equal images."""
        found = [
            self._network(*(images.to(self._device).float() / 127.5 - 1.0 for images in pair)).flatten().double().cpu()
            for pair in zip(torch.split(filled, _BATCH), torch.split(truth, _BATCH), strict=True)
        ]
        distances: NDArray[np.float64] = torch.cat(found).numpy()
        return distances


class Fid:
    """The Fréchet Inception distance (Heusel et al., NeurIPS 2017) of completed images to the true ones.

    Parameters
    ----------
    network
        uint8 (n, 3, h, w) -> float (n, features).
    truth
        The true images, uint8 (n, 3, h, w) at a time. They are looked at once, whatever they are compared with.
    """

    def __init__(self, network: nn.Module, truth: Iterable[Tensor], device: torch.device) -> None:
        from torchmetrics.image.fid import FrechetInceptionDistance

        with torch.random.fork_rng(devices=[]):  # it tries the network on an image of noise
            self._metric = FrechetInceptionDistance(feature=network, reset_real_features=False).to(device)
        self._device = device
        for images in truth:
            self._update(images, real=True)

    def restart(self) -> None:
        """Forget the completed images."""
        self._metric.reset()

    def add(self, filled: Tensor) -> None:
        """Take in completed images: uint8 (n, 3, h, w)."""
        self._update(filled, real=False)

    def value(self) -> float:
        """The distance, with the covariances' denominators n - 1."""
        return float(self._metric.compute())

    def _update(self, images: Tensor, *, real: bool) -> None:
        for batch in torch.split(images, _BATCH):
            self._metric.update(batch.to(self._device), real=real)


class Perceptual:
    """The metrics that were asked for; their networks are made once.

    Parameters
    ----------
    names
        Some of `PERCEPTUAL`.
    networks
        {name: what stands in for the metric's own network}, as `Lpips` and `Fid` take them. That of "fid" says how
        many features it gives, in `num_features`.

    Raises
    ------
    UserError
        If a name is none of `PERCEPTUAL`.
    """

    def __init__(self, names: Iterable[str], networks: Mapping[str, nn.Module] | None = None) -> None:
        asked = set(names)
        for name in sorted(asked - set(PERCEPTUAL)):
            raise unknown("perceptual metric", name, PERCEPTUAL)
        self.names = tuple(name for name in PERCEPTUAL if name in asked)
        self._networks = dict(networks or {})
        self._lpips: Lpips | None = None
        self._fid: tuple[str, Fid] | None = None

    def check(self, count: int, size: tuple[int, int]) -> None:
        """Whether `count` images of (height, width) can be judged, and the networks be made: now.

        Raises
        ------
        UserError
            If the images are too few or too small, or an extra or a file of weights is not there or not readable.
        """
        if "fid" in self.names:
            features = getattr(self._networks.get("fid"), "num_features", FID_FEATURES)
            if count <= features:
                raise UserError(
                    f"fid compares covariances of {features:,} features, which are singular below {features + 1:,} "
                    f"test images; there are {count:,}. Give more test images, or leave fid out of perceptual."
                )
        if "lpips" in self.names and min(size) < LPIPS_SIDE:
            raise UserError(
                f"lpips needs images of at least {LPIPS_SIDE} pixels a side; these are {size[0]} x {size[1]}. "
                "Pack them larger (--size), or leave lpips out of perceptual."
            )
        for name in self.names:
            self.network(name)

    def begin(self, test: ImageSet, env: Env) -> None:
        """Get ready for one subject's fills of all images of `test`."""
        if "lpips" in self.names:
            self._lpips = Lpips(self.network("lpips"), env.device)
        if "fid" in self.names:
            if self._fid is None or self._fid[0] != test.fingerprint:
                self._fid = test.fingerprint, Fid(self.network("fid"), _truth(test, env), env.device)
            self._fid[1].restart()

    def of_images(self, filled: Tensor, truth: Tensor) -> dict[str, NDArray[np.float64]]:
        """{metric: float64 (n,)} of uint8 images (n, 3, h, w): those that have a value for each image."""
        if self._fid is not None:
            self._fid[1].add(filled)
        return {} if self._lpips is None else {"lpips": self._lpips.between(filled, truth)}

    def of_the_set(self) -> dict[str, float]:
        """{metric: value} of all images since `begin`: those that have a value for a set of images only."""
        return {} if self._fid is None else {"fid": self._fid[1].value()}

    def implementations(self) -> dict[str, str]:
        """{metric: whose implementation and which weights}."""
        found = versions()
        networks = {
            "lpips": f"AlexNet of torchvision {found['torchvision']}",
            "fid": f"Inception of torch-fidelity {found.get('torch-fidelity', '')}".rstrip(),
        }
        return {name: f"torchmetrics {found['torchmetrics']}, {networks[name]}" for name in self.names}

    def network(self, name: str) -> nn.Module:
        """The network of a metric, made now if it was not before."""
        if name not in self._networks:
            self._networks[name] = _NETWORKS[name]()
        return self._networks[name]


def _truth(test: ImageSet, env: Env) -> Iterator[Tensor]:
    for part in torch.split(torch.arange(len(test)), _BATCH):
        yield test.read(part)
        env.say(f"fid: {int(part[-1]) + 1} of {len(test)} true images seen")


def _alexnet() -> nn.Module:
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity
    from torchvision.models import AlexNet_Weights

    def make() -> nn.Module:
        return LearnedPerceptualImagePatchSimilarity(net_type="alex").net

    return _made("lpips", "torchvision's AlexNet", AlexNet_Weights.DEFAULT.url, make)


def _inception() -> nn.Module:
    from torchmetrics.image.fid import FrechetInceptionDistance

    try:
        from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3
    except ImportError as error:
        raise UserError("fid needs the extra 'fid': pip install 'ssl-ce[fid]'") from error

    def make() -> nn.Module:
        # Resized as by the first implementation; antialiasing would give other numbers than are published.
        return FrechetInceptionDistance(feature=FID_FEATURES, antialias=False).inception

    return _made("fid", "torch-fidelity's Inception", URL_INCEPTION_V3, make)


_NETWORKS: dict[str, Callable[[], nn.Module]] = {"lpips": _alexnet, "fid": _inception}


def _made(metric: str, network: str, url: str, make: Callable[[], nn.Module]) -> nn.Module:
    """The network, if the file that torch would download is there and holds its weights and nothing else."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        raise UserError(
            f"{metric} needs the weights of {network}, and {path} is not there. "
            f"Get them with: curl -L --create-dirs -o {path} {url}"
        )
    read_checkpoint(path)
    try:
        with torch.random.fork_rng(devices=[]):
            return make().eval()
    except RuntimeError as error:
        raise UserError(f"{path} does not hold the weights of {network}. Delete it, and get them from {url}") from error
