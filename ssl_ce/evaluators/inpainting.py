"""How well holes are filled: `inpainting@1` with one hole for each image, `nn-inpainting@1` with a bank of masks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer
from torch import Tensor

from ssl_ce.data.imageset import ImageSet
from ssl_ce.errors import UserError
from ssl_ce.evaluators.base import Env, EvaluationData, Needs, Subject
from ssl_ce.evaluators.fill_scores import METRICS, metrics_of, notes_of, outcomes_of
from ssl_ce.evaluators.hole_source import HoleSource, check_holes, open_holes
from ssl_ce.evaluators.mixing import mixes
from ssl_ce.evaluators.perceptual import Perceptual
from ssl_ce.evaluators.recording import LEFT_OUT, departures, make_record
from ssl_ce.inpainters import inpainters, load_inpainter
from ssl_ce.inpainters.base import Inpainter
from ssl_ce.inpainters.nearest import MOST_HOLES, Index, Nearest
from ssl_ce.records.record import Record
from ssl_ce.references import parse_reference, with_option
from ssl_ce.settings import Settings

_CHUNK = 256
# Settings that came after the first records of the protocols.
_LATER = ("perceptual", "index")


class InpaintingConfig(Settings):
    """`holes` names region strategies or mask images (`ssl_ce.evaluators.hole_source`), one record each; `options` are
    passed to every one of them.

    `perceptual`: which of "lpips" and "fid" are measured too; also as one text, "lpips,fid". `index`: "bank" describes
    the searched images under each hole, "full" once, as whole images; for subjects that do not say so themselves.
    """

    holes: tuple[str, ...] = Field(default=("center", "random-block", "random-region"), min_length=1)
    options: dict[str, Any] = Field(default_factory=dict)
    perceptual: tuple[str, ...] = ()
    index: Index = "bank"

    @field_validator("holes")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(names))

    @field_validator("perceptual", mode="before")
    @classmethod
    def _split(cls, given: Any) -> Any:
        return given.replace(",", " ").split() if isinstance(given, str) else given

    @field_validator("perceptual")
    @classmethod
    def _in_one_order(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(set(names)))

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without later settings that were left alone: what was judged before there were any keeps its cell."""
        values: dict[str, Any] = write(self)
        fields = type(self).model_fields
        return {
            name: value
            for name, value in values.items()
            if name not in _LATER or getattr(self, name) != fields[name].default
        }


class NearestInpaintingConfig(InpaintingConfig):
    """`bank`: masks of each strategy; every test image is given one of them."""

    bank: int = Field(default=4, ge=1, le=MOST_HOLES)


class Inpainting:
    """How close fills come to the truth, for each strategy, with a hole of its own for each test image.

    Pixels are in [0, 1]. `psnr` is the mean of the images' PSNRs and `psnr_of_mean_l2` the PSNR of their mean L2:
    papers print either. Holes are a function of (seed, image number), the same for every subject.
    """

    name: ClassVar[str] = "inpainting"
    version: ClassVar[int] = 1
    Config: ClassVar[type[Settings]] = InpaintingConfig
    needs: ClassVar[Needs] = Needs("fill")
    metrics: ClassVar[tuple[str, ...]] = METRICS
    floors: ClassVar[tuple[str, ...]] = ("mean-color", "telea")

    def __init__(self, config: InpaintingConfig) -> None:
        self.config = config
        self.perceptual = Perceptual(config.perceptual)
        check_holes(config.holes, config.options)

    @property
    def protocol(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"

    def reference(self, text: str) -> str:
        """The subject reference that `text` means here: what searches does so in the index of the settings."""
        reference = parse_reference(text)
        said = {"index", "complete"} & set(reference.options)
        if reference.scheme != "nearest" or self.config.index == "bank" or said:
            return text
        return with_option(reference, "index", self.config.index)

    def resolve(self, reference: str, data: EvaluationData, device: torch.device) -> Inpainter:
        """The inpainter that `reference` names; `nearest:...` searches `data.train`."""
        return load_inpainter(reference, data.train, str(device))

    def check(self, subject: Subject, data: EvaluationData) -> None:
        """Whether the subject can fill these holes at this size: it fills one image of each strategy."""
        if data.test.size is None:
            raise UserError("Inpainting is scored on packed images; pack the test set first.")
        self.perceptual.check(len(data.test), data.test.size)
        for name in self.config.holes:
            if isinstance(subject, Nearest):
                indices = torch.arange(min(len(data.test), MOST_HOLES + 1))
                subject.check_holes(self.holes(name, indices, 0, data.test))
            else:
                indices = torch.arange(1)
                _inpainter(subject).fill(data.test.read(indices), self.holes(name, indices, 0, data.test))

    def holes(self, name: str, indices: Tensor, seed: int, test: ImageSet) -> Tensor:
        """The holes of the test images `indices`: bool (n, 1, h, w), True = missing."""
        return self._drawn(open_holes(name, self.config.options, test), indices, seed)

    def _drawn(self, source: HoleSource, indices: Tensor, seed: int) -> Tensor:
        return source.each(indices, seed)

    def run(self, subject: Subject, data: EvaluationData, env: Env) -> Iterator[Record]:
        """One record for each strategy."""
        assert data.test.size is not None
        notes = notes_of(data.test.size, self.perceptual.implementations())
        for strategy in self.config.holes:
            started = time.perf_counter()
            source = open_holes(strategy, self.config.options, data.test)
            before = _left_out(subject)
            outcomes, of_the_set = self._outcomes(subject, source, data, env)
            left_out = _left_out(subject) - before
            yield make_record(
                self,
                subject,
                data,
                env,
                # How searched images are described is in the names of the subjects that search.
                variant={**source.variant, **departures(self.config, "holes", "index")},
                metrics=metrics_of(outcomes, of_the_set, env.seed),
                outcomes=outcomes,
                notes=notes | ({LEFT_OUT: left_out} if isinstance(subject, Nearest) else {}),
                used=[source.identity] if source.identity else [],
                started=started,
            )

    def _outcomes(
        self, subject: Subject, source: HoleSource, data: EvaluationData, env: Env
    ) -> tuple[dict[str, NDArray[np.float64]], dict[str, float]]:
        """Numbers of single images, and of all of them together."""
        test = data.test
        assert test.size is not None
        self.perceptual.begin(test, env)
        parts: list[dict[str, NDArray[np.float64]]] = []
        for start in range(0, len(test), _CHUNK):
            indices = torch.arange(start, min(start + _CHUNK, len(test)))
            truth = test.read(indices)
            holes = self._drawn(source, indices, env.seed)
            # The fill never gets to see the truth, whatever the inpainter does.
            filled = _inpainter(subject).fill(truth.masked_fill(holes, 0), holes)
            if bool((filled != truth).logical_and(~holes).any()):
                raise UserError(f"'{subject.name}' changes pixels of the context; an inpainter may fill holes only.")
            mixed = mixes(test, indices, holes)
            parts.append(
                outcomes_of(filled, truth, holes)
                | self.perceptual.of_images(filled, truth)
                | ({} if mixed is None else {"mixes": mixed})
            )
            env.say(f"{subject.name}: {source.name} holes, {start + len(indices)} of {len(test)} images filled")
        outcomes = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return outcomes, self.perceptual.of_the_set()


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
        """A descriptor is read as `nearest:DESCRIPTOR`; an inpainter stays what it is, a run as `fill:RUN`."""
        inpaints = parse_reference(text).scheme in ("nearest", "fill") or text.partition("?")[0] in inpainters
        return super().reference(text if inpaints else f"nearest:{text}")

    def _drawn(self, source: HoleSource, indices: Tensor, seed: int) -> Tensor:
        """Masks of the bank; with `index="full"`, masks that were matched by name as they are."""
        return source.banked(indices, seed, self.config.bank, whole=self.config.index == "full")


def _left_out(subject: Subject) -> int:
    return subject.left_out if isinstance(subject, Nearest) else 0


def _inpainter(subject: Subject) -> Inpainter:
    if not isinstance(subject, Inpainter):
        raise UserError(f"'{subject.name}' describes images and fills no holes.")
    return subject
