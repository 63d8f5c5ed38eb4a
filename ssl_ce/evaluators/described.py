"""What the evaluators of descriptors and their networks share: the protocol's name, and how a subject is made."""

from __future__ import annotations

from typing import ClassVar

import torch

from ssl_ce.evaluators.base import EvaluationData, Subject
from ssl_ce.evaluators.encoding import resolve_descriptor


class OfDescriptors:
    """An evaluator whose subjects are descriptors.

    Attributes
    ----------
    name
        The evaluator's name, and the protocol's unless `preset` says otherwise.
    preset
        The protocol's name without its version.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    preset: ClassVar[str | None] = None

    @property
    def protocol(self) -> str:
        """The protocol that records carry."""
        return f"{self.preset or self.name}@{self.version}"

    def reference(self, text: str) -> str:
        """The subject reference that `text` means here: itself."""
        return text

    def resolve(self, reference: str, data: EvaluationData, device: torch.device) -> Subject:
        """The descriptor that `reference` names, calibrated on train if it was never trained."""
        return resolve_descriptor(reference, data.train, device)
