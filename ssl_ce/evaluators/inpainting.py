"""How well holes are filled: `inpainting@1` with one hole for each image, `nn-inpainting@1` with a bank of masks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from ssl_ce.errors import UserError
from ssl_ce.evaluators.base import Env, EvaluationData, Needs, Subject
from ssl_ce.evaluators.recording import departures, make_record
from ssl_ce.holes import bank_of, draw, strategies
from ssl_ce.inpainters import inpainters, load_inpainter
from ssl_ce.inpainters.base import Inpainter
from ssl_ce.inpainters.nearest import MOST_HOLES, Nearest
from ssl_ce.metrics import hole_metrics, psnr_from_l2
from ssl_ce.randomness import sample_keys
from ssl_ce.records.record import Metric, Record
from ssl_ce.records.statistics import bootstrap_of_mean, mean_metric
from ssl_ce.settings import Settings

_CHUNK = 256


class InpaintingConfig(Settings):
    """`holes` names region strategies, one record each; `options` are passed to every one of them."""

    holes: tuple[str, ...] = ("center", "random-block", "random-region")
    options: dict[str, Any] = Field(default_factory=dict)


class NearestInpaintingConfig(InpaintingConfig):
    """`bank`: masks of each strategy; every test image is given one of them, and each has an index of its own."""

    bank: int = Field(default=4, ge=1, le=MOST_HOLES)


class Inpainting:
    """L1, L2, PSNR and SSIM over the hole, for each strategy, with a hole of its own for each test image.

    Pixels are in [0, 1]. `psnr` is the mean of the images' PSNRs and `psnr_of_mean_l2` the PSNR of their mean L2:
    papers print either. Holes are a function of (seed, image number), the same for every subject.
    """

    name: ClassVar[str] = "inpainting"
    version: ClassVar[int] = 1
    Config: ClassVar[type[Settings]] = InpaintingConfig
    needs: ClassVar[Needs] = Needs("fill")
    metrics: ClassVar[tuple[str, ...]] = ("psnr", "l1", "l2", "ssim", "psnr_of_mean_l2")
    floors: ClassVar[tuple[str, ...]] = ("mean-color", "telea")

    def __init__(self, config: InpaintingConfig) -> None:
        self.config = config
        for strategy in config.holes:
            strategies.entry(strategy)

    @property
    def protocol(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"

    def reference(self, text: str) -> str:
        """The subject reference that `text` means here."""
        return text

    def resolve(self, reference: str, data: EvaluationData, device: torch.device) -> Inpainter:
        """The inpainter that `reference` names; `nearest:...` searches `data.train`."""
        return load_inpainter(reference, data.train, str(device))

    def check(self, subject: Subject, data: EvaluationData) -> None:
        """Whether the subject can fill these holes at this size: it fills one image of each strategy."""
        if data.test.size is None:
            raise UserError("Inpainting is scored on packed images; pack the test set first.")
        if isinstance(subject, Nearest):
            if data.train is not None and data.train.fingerprint == data.test.fingerprint:
                raise UserError(
                    f"'{subject.name}' would find every test image in its own index: the train and test images are the "
                    "same. Give others to search, with --index."
                )
        else:
            for strategy in self.config.holes:
                indices = torch.arange(1)
                _inpainter(subject).fill(data.test.read(indices), self.holes(strategy, indices, 0, data.test.size))

    def holes(self, strategy: str, indices: Tensor, seed: int, size: tuple[int, int]) -> Tensor:
        """The holes of test images `indices`: bool (n, 1, h, w), True = missing."""
        return draw(strategy, sample_keys(seed, 0, indices, "evaluation hole"), *size, self.config.options)

    def run(self, subject: Subject, data: EvaluationData, env: Env) -> Iterator[Record]:
        """One record for each strategy."""
        for strategy in self.config.holes:
            started = time.perf_counter()
            outcomes = self._outcomes(subject, strategy, data, env)
            yield make_record(
                self,
                subject,
                data,
                env,
                variant={"holes": strategy, **departures(self.config, "holes")},
                metrics=_metrics(outcomes, env.seed),
                outcomes={name: values.tolist() for name, values in outcomes.items()},
                started=started,
            )

    def _outcomes(
        self, subject: Subject, strategy: str, data: EvaluationData, env: Env
    ) -> dict[str, NDArray[np.float64]]:
        test = data.test
        assert test.size is not None
        parts: list[dict[str, NDArray[np.float64]]] = []
        for start in range(0, len(test), _CHUNK):
            indices = torch.arange(start, min(start + _CHUNK, len(test)))
            truth = test.read(indices)
            holes = self.holes(strategy, indices, env.seed, test.size)
            # The fill never gets to see the truth, whatever the inpainter does.
            filled = _inpainter(subject).fill(truth.masked_fill(holes, 0), holes)
            if bool((filled != truth).logical_and(~holes).any()):
                raise UserError(f"'{subject.name}' changes pixels of the context; an inpainter may fill holes only.")
            parts.append(hole_metrics(filled, truth, holes))
            env.say(f"{subject.name}: {strategy} holes, {start + len(indices)} of {len(test)} images filled")
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


class NearestInpainting(Inpainting):
    """Holes filled with the region of the nearest training context, under a bank of masks.

    Every test image is given one mask of a small bank, a function of (seed, image number); the training images are
    described under each mask once, so that both sides are described under the same hole.
    """

    name: ClassVar[str] = "nn-inpainting"
    version: ClassVar[int] = 1
    Config: ClassVar[type[Settings]] = NearestInpaintingConfig
    needs: ClassVar[Needs] = Needs("fill", train=True)
    floors: ClassVar[tuple[str, ...]] = ("nearest:pixels", "nearest:hog", "{init}", "mean-color")

    config: NearestInpaintingConfig

    def reference(self, text: str) -> str:
        """A descriptor is read as `nearest:DESCRIPTOR`; an inpainter stays what it is."""
        return text if text.startswith("nearest:") or text.partition("?")[0] in inpainters else f"nearest:{text}"

    def holes(self, strategy: str, indices: Tensor, seed: int, size: tuple[int, int]) -> Tensor:
        """Masks of the bank, one for each of the test images `indices`: bool (n, 1, h, w), True = missing."""
        return bank_of(strategy, indices, self.config.bank, seed, *size, self.config.options)


def _inpainter(subject: Subject) -> Inpainter:
    if not isinstance(subject, Inpainter):
        raise UserError(f"'{subject.name}' describes images and fills no holes.")
    return subject


def _metrics(outcomes: dict[str, NDArray[np.float64]], seed: int) -> dict[str, Metric]:
    metrics = {
        name: mean_metric(outcomes[name], seed=seed, higher_is_better=name in ("psnr", "ssim"))
        for name in ("psnr", "l1", "l2", "ssim")
    }
    of_mean = bootstrap_of_mean(outcomes["l2"], psnr_from_l2, seed=seed)
    metrics["psnr_of_mean_l2"] = Metric(
        value=of_mean.value, low=of_mean.low, high=of_mean.high, spread="bootstrap over test images"
    )
    return metrics
