"""Subjects before they exist: what a pretraining will leave, untrained, to ask whether it can be judged."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from ssl_ce.data.imageset import ImageSet
from ssl_ce.descriptors import descriptors, load_descriptor
from ssl_ce.descriptors.base import Descriptor
from ssl_ce.descriptors.every_tap import tapped
from ssl_ce.errors import UserError, unknown
from ssl_ce.evaluators.base import EvaluationData, Evaluator, Subject
from ssl_ce.inpainters import load_inpainter
from ssl_ce.inpainters.base import Inpainter
from ssl_ce.inpainters.loading import nearest_of
from ssl_ce.inpainters.nearest import Nearest
from ssl_ce.inpainters.parametric import Parametric
from ssl_ce.methods.base import Method
from ssl_ce.methods.saved import build_method
from ssl_ce.references import Reference, made_of, parse_reference
from ssl_ce.suites.cells import PretrainCell

# Parameters of the methods that are kept to be asked again: about a gigabyte.
_MOST_PARAMETERS = 250_000_000


class StandIns:
    """Makes a stand-in for every subject of a suite: its name is the real one's, its weights are not.

    A method is built once for all pretrainings that share its section. Pretrained networks are built without their
    weights, so nothing is downloaded.
    """

    def __init__(self, pretrainings: Iterable[PretrainCell]) -> None:
        self._cells = {str(cell.path): cell for cell in pretrainings}
        self._methods: dict[str, Method] = {}

    def pretraining(self, reference: str) -> PretrainCell | None:
        """The suite's pretraining that the subject is made of, or None."""
        found = {
            parsed.target: self._cells[parsed.target]
            for parsed in made_of(reference)
            if parsed.scheme in (None, "init") and parsed.target in self._cells
        }
        if len(found) > 1:
            names = ", ".join(cell.name for cell in found.values())
            raise UserError(f"'{reference}' is made of several pretrainings ({names}); a cell is made of one at most.")
        return next(iter(found.values()), None)

    def method(self, cell: PretrainCell) -> Method:
        """The cell's method, untrained."""
        key = json.dumps(cell.recipe.method, sort_keys=True)
        if key not in self._methods:
            while self._methods and sum(map(_parameters, self._methods.values())) > _MOST_PARAMETERS:
                del self._methods[next(iter(self._methods))]
            try:
                self._methods[key] = build_method(cell.recipe.method, cell.recipe.seed, f"pretraining {cell.name}")
            except UserError as error:
                raise UserError(f"The pretraining '{cell.name}' cannot be built: {error}") from error
        return self._methods[key]

    def subject(self, evaluator: Evaluator, reference: str, data: EvaluationData) -> Subject:
        """The stand-in for `reference` under `evaluator`.

        Raises
        ------
        UserError
            If it names nothing, has no such tap, or cannot do what the evaluator judges.
        """
        if evaluator.needs.capability != "fill":
            return self._descriptor(reference)
        return self._inpainter(evaluator, reference, data.train)

    def _inpainter(self, evaluator: Evaluator, reference: str, train: ImageSet | None) -> Inpainter:
        parsed = parse_reference(reference)
        if parsed.scheme == "nearest":
            return self._nearest(evaluator, parsed, train)
        cell = self.pretraining(reference)
        if cell is None or parsed.scheme not in (None, "fill"):
            return load_inpainter(reference, train)
        if parsed.tap is not None or parsed.options:
            raise UserError(f"'{reference}': a run fills holes with its whole network. Leave out tap and options.")
        method = self.method(cell)
        if "fill" not in method.capabilities:
            raise UserError(
                f"The pretraining '{cell.name}' ({method.name}) fills no holes, so {evaluator.name} cannot judge it. "
                "Choose the pretrainings that can with 'runs: PATTERN'."
            )
        return Parametric(reference, method)

    def _nearest(self, evaluator: Evaluator, parsed: Reference, train: ImageSet | None) -> Nearest:
        if train is None:
            raise UserError(f"'{parsed.text}' searches train images, and this suite's data have none.")
        complete = parsed.options.get("complete")
        completer = None if complete is None else self._inpainter(evaluator, str(complete), train)
        return nearest_of(parsed, self._descriptor(parsed.target), train, completer)

    def _descriptor(self, reference: str) -> Descriptor:
        parsed = parse_reference(reference)
        cell = self.pretraining(reference)
        if cell is not None:
            return self._of_run(parsed, self.method(cell))
        if parsed.scheme in ("torchvision", "timm"):
            found = load_descriptor(f"random:{reference}")
            found.name = reference
            return found
        if parsed.scheme is None and parsed.target not in descriptors and not Path(parsed.target).is_dir():
            raise unknown("subject", parsed.target, [*descriptors.names(), *self._cells])
        return load_descriptor(reference)

    def _of_run(self, parsed: Reference, method: Method) -> Descriptor:
        options = dict(parsed.options)
        pool = options.pop("pool", 4)
        if options:
            raise unknown(f"option of '{parsed.text}'", next(iter(options)), ("pool",))
        return tapped(parsed.text, method.encoder, parsed.tap, pool=pool)


def _parameters(method: Method) -> int:
    return sum(parameter.numel() for network in method.networks.values() for parameter in network.parameters())
