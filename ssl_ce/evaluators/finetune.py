"""`finetune@1`: the whole network, trained further on labels with a linear head.

Layer-wise learning-rate decay, random resized crops and flips, cosine; the constants of transformers are those of
MAE (He et al., CVPR 2022, table 9), those of convolutional networks were settled on held-out train images
(docs/protocols.md). With `share`, it is done for several class-balanced draws of labels, the same draws for every
subject. The last epoch is reported, never the best.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from ssl_ce.data.imageset import ImageSet, Task
from ssl_ce.data.packing import Subset
from ssl_ce.descriptors.base import TrainableBackbone
from ssl_ce.errors import UserError
from ssl_ce.evaluators.base import Env, EvaluationData, Needs, Subject
from ssl_ce.evaluators.classifier import ClassifierConfig, Share, fit, score
from ssl_ce.evaluators.described import OfDescriptors
from ssl_ce.evaluators.draws import draws_text, over_draws
from ssl_ce.evaluators.encoding import check_describes, check_labelled, train_of
from ssl_ce.evaluators.precision import judged_by_precision
from ssl_ce.evaluators.ranks import true_class_ranks
from ssl_ce.evaluators.recording import departures, make_record
from ssl_ce.evaluators.sampling import draw_share
from ssl_ce.evaluators.training import precision_on
from ssl_ce.networks.encoder import Encoder
from ssl_ce.networks.vit import PatchEncoder
from ssl_ce.records.record import Metric, Record
from ssl_ce.seeds import derive_seed
from ssl_ce.settings import Precision, Settings

Scores = NDArray[np.float64]


class ConvolutionalConfig(ClassifierConfig):
    """Constants for convolutional encoders; settled on held-out train images."""

    epochs: PositiveInt = 20
    fewest_steps: NonNegativeInt = 300
    rate: PositiveFloat = 4e-3
    head_norm: bool = True


class TransformerConfig(ClassifierConfig):
    """Constants for transformers: MAE's, for as many images a batch as there are."""

    epochs: PositiveInt = 100
    batch_size: Annotated[int, Field(ge=2)] = 1024
    rate: PositiveFloat = 5e-4
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 0.65
    weight_decay: NonNegativeFloat = 0.05
    smallest_crop: Annotated[float, Field(gt=0, le=1)] = 0.08
    smoothing: Share = 0.1
    mixup: NonNegativeFloat = 0.8
    cutmix: NonNegativeFloat = 1.0
    drop_path: Share = 0.1


class FinetuneConfig(Settings):
    """Constants of the protocol by kind of encoder, and how many labels it may see.

    Attributes
    ----------
    share, draws
        Train on this share of the train images, the same number of each class, in so many independent draws. With
        1, all of them, there is one draw.
    epochs, batch_size, precision
        Instead of what the constants of the encoder's kind say; `epochs` then alone decides the length.
    convolutional, transformer
        The constants of each kind.
    """

    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    draws: PositiveInt = 3
    epochs: PositiveInt | None = None
    batch_size: Annotated[int, Field(ge=2)] | None = None
    precision: Precision | None = None
    convolutional: ConvolutionalConfig = ConvolutionalConfig()
    transformer: TransformerConfig = TransformerConfig()


class Finetune(OfDescriptors):
    """Judges a network by what it learns from labels: `accuracy` and `top5`, or `map` of multi-label sets."""

    name: ClassVar[str] = "finetune"
    version: ClassVar[int] = 1
    Config: ClassVar[type[Settings]] = FinetuneConfig
    needs: ClassVar[Needs] = Needs("train", task="classes", train=True)
    tasks: ClassVar[tuple[Task, ...]] = ("classes", "multilabel")
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "top5", "accuracy_sd", "map", "map_sd")
    floors: ClassVar[tuple[str, ...]] = ("{init}",)

    def __init__(self, config: Any) -> None:
        self.config = config

    def check(self, subject: Subject, data: EvaluationData) -> None:
        """Raises `UserError` if there is no network to train, or the data cannot be classified or drawn from."""
        check_labelled(data, self.needs, self.tasks)
        check_describes(subject, data.test)
        check_trainable(self.name, subject)
        self._draws(train_of(data), seed=0)

    def run(self, subject: Subject, data: EvaluationData, env: Env) -> Iterator[Record]:
        """One record. Outcomes of each test image are 0 or 1, or the share of draws that were right."""
        assert isinstance(subject, TrainableBackbone)
        started = time.perf_counter()
        train = train_of(data)
        kind, constants = self._constants(subject.trainable())
        draws = self._draws(train, env.seed)
        found = []
        for number, rows in enumerate(draws):
            seed = derive_seed(env.seed, f"finetune draw {number}")
            images = train if len(rows) == len(train) else Subset(train, rows, train.split)
            which = f" (draw {number + 1} of {len(draws)})" if len(draws) > 1 else ""
            classifier = fit(
                subject, images, constants, seed=seed, device=env.device, say=env.say, name=f"{subject.name}{which}"
            )
            env.say(f"{subject.name}{which}: testing")
            found.append(score(classifier, data.test, constants, seed=seed, device=env.device))
        metrics, outcomes, notes = self._judged(found, data.test, env.seed)
        yield make_record(
            self, subject, data, env,
            variant=self._variant(constants),
            metrics=metrics,
            outcomes=outcomes,
            notes={
                "trained as": kind,
                "constants": constants.model_dump(mode="json"),
                "tap": subject.tap,
                "train images": len(draws[0]),
                "precision": precision_on(env.device, constants),
                **notes,
            },
            started=started,
        )  # fmt: skip

    def _constants(self, encoder: Encoder) -> tuple[str, ClassifierConfig]:
        """The kind of an encoder, and the constants it is trained with."""
        kind = "transformer" if isinstance(encoder, PatchEncoder) else "convolutional"
        told = {name: getattr(self.config, name) for name in ("epochs", "batch_size", "precision")}
        changes = {name: value for name, value in told.items() if value is not None}
        if "epochs" in changes:
            changes["fewest_steps"] = 0
        constants: ClassifierConfig = getattr(self.config, kind)
        return kind, constants.model_copy(update=changes)

    def _draws(self, train: ImageSet, seed: int) -> list[NDArray[np.int64]]:
        """Rows of train of each draw."""
        if self.config.share == 1:
            return [np.arange(len(train))]
        balanced = train.targets() if train.task == "classes" else np.zeros(len(train), dtype=np.int64)
        return [draw_share(balanced, self.config.share, seed, draw) for draw in range(self.config.draws)]

    def _variant(self, constants: ClassifierConfig) -> dict[str, str]:
        labels = "all" if self.config.share == 1 else f"{self.config.share * 100:g} %, {draws_text(self.config.draws)}"
        told_otherwise = () if self.config.epochs is None else ("fewest_steps",)
        return {"labels": labels, **departures(constants, *told_otherwise)}

    def _judged(
        self, draws: Sequence[Scores], test: ImageSet, seed: int
    ) -> tuple[dict[str, Metric], dict[str, NDArray[np.float64]], dict[str, Any]]:
        """Metrics, outcomes and notes of the test scores of each draw."""
        if test.task == "multilabel":
            return judged_by_precision(draws, test, {"map": False})
        ranks = np.stack([true_class_ranks(scores, test.targets()) for scores in draws])
        right = {"accuracy": ranks < 1} | ({"top5": ranks < 5} if len(test.classes) > 5 else {})
        metrics, outcomes = over_draws({name: values.astype(np.float64) for name, values in right.items()}, seed)
        if self.config.share == 1:
            del outcomes["accuracy_draws"]
        return metrics, outcomes, {}


def check_trainable(evaluator: str, subject: Subject) -> None:
    """Raise `UserError` where there is no network to train further."""
    if not isinstance(subject, TrainableBackbone):
        raise UserError(
            f"'{subject.name}' has no network to train, so {evaluator} cannot judge it. Give a run, or an encoder "
            "such as torchvision:resnet18."
        )
