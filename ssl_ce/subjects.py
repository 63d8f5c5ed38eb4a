"""A subject by its reference: what can describe, fill, or both. Behind `ssl_ce.load`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from ssl_ce.data.imageset import ImageSet
from ssl_ce.descriptors import descriptors, load_descriptor
from ssl_ce.descriptors.base import Descriptor
from ssl_ce.errors import UserError, unknown
from ssl_ce.images import as_holes, as_images
from ssl_ce.inpainters import inpainters, load_inpainter
from ssl_ce.inpainters.base import Inpainter
from ssl_ce.inpainters.parametric import Parametric
from ssl_ce.methods.saved import load_run
from ssl_ce.references import parse_reference


class Subject:
    """What a reference names, with the descriptor and the inpainter it offers (None where it offers none)."""

    def __init__(self, name: str, descriptor: Descriptor | None, inpainter: Inpainter | None) -> None:
        self.name = name
        self.descriptor = descriptor
        self.inpainter = inpainter

    def describe(self, images: Any, holes: Any = None) -> Tensor:
        """uint8 (n, 3, h, w), torch or numpy -> float32 (n, dim). With bool holes, True = missing: the context only."""
        if self.descriptor is None:
            raise UserError(f"'{self.name}' fills holes; it does not describe images.")
        images = as_images(images)
        return self.descriptor.describe(images, None if holes is None else as_holes(holes, images))

    def fill(self, images: Any, holes: Any) -> Tensor:
        """uint8 (n, 3, h, w) and bool (n, 1, h, w), True = missing, torch or numpy -> completed uint8 images."""
        if self.inpainter is None:
            raise UserError(f"'{self.name}' describes images; it fills no holes. nearest:{self.name} would.")
        images = as_images(images)
        return self.inpainter.fill(images, as_holes(holes, images))


def load_subject(reference: str, device: str = "cpu", index: ImageSet | None = None) -> Subject:
    """The subject that `reference` names; `index` is what a `nearest:` subject searches."""
    parsed = parse_reference(reference)
    if parsed.scheme == "nearest" or (parsed.scheme is None and parsed.target in inpainters):
        return Subject(reference, None, load_inpainter(reference, index, device))
    if parsed.scheme is not None or parsed.target in descriptors:
        return Subject(reference, load_descriptor(reference, device), None)
    try:
        descriptor = load_descriptor(reference, device)
    except UserError as error:
        if "descriptor or run" in str(error):
            raise unknown("subject", parsed.target, [*descriptors.names(), *inpainters.names()]) from error
        raise
    method = load_run(Path(parsed.target))
    inpainter = Parametric(parsed.target, method, device) if "fill" in method.capabilities else None
    return Subject(reference, descriptor, inpainter)
