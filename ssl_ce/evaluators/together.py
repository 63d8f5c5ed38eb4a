"""Several processes describe, one judges: the features that an evaluation reads are put into the cache first."""

from __future__ import annotations

from collections.abc import Iterable

from ssl_ce.descriptors.base import Descriptor
from ssl_ce.descriptors.every_tap import EveryTap
from ssl_ce.descriptors.sharing import describe_images_together
from ssl_ce.errors import UserError
from ssl_ce.evaluators.base import Env, EvaluationData, Evaluator
from ssl_ce.evaluators.frozen import FrozenEvaluator
from ssl_ce.processes import Processes


def describe_together(
    evaluator: Evaluator, references: Iterable[str], data: EvaluationData, env: Env, processes: Processes
) -> None:
    """Put into the cache what `evaluator` reads of the subjects that `references` name. Every process must call it.

    Raises
    ------
    UserError
        If the evaluator does not read features of whole images, or a subject does not fit.
    """
    if not (isinstance(evaluator, FrozenEvaluator) and evaluator.cached):
        processes.fail(
            UserError(
                f"{evaluator.name} does not read features of whole images, which is all that several processes share "
                "in an evaluation. Leave --devices out."
            )
        )

    def resolve() -> list[Descriptor]:
        found = [evaluator.resolve(evaluator.reference(reference), data, env.device) for reference in references]
        for subject in found:
            evaluator.check(subject, data)
        return [subject for subject in found if isinstance(subject, Descriptor)]

    for subject in processes.together(resolve):
        needs_train = evaluator.needs.train or (isinstance(subject, EveryTap) and evaluator.chooses)
        for images in (data.train if needs_train else None, data.test):
            if images is not None:
                env.say(f"{subject.name}: {processes.count} processes describe {len(images):,} {images.split} images")
                describe_images_together(processes, env.cache, subject, images)
