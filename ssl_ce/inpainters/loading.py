"""From a subject reference to an inpainter."""

from __future__ import annotations

from pathlib import Path

from ssl_ce.data.imageset import ImageSet
from ssl_ce.descriptors import descriptors, load_descriptor
from ssl_ce.descriptors.learned import NetworkDescriptor
from ssl_ce.descriptors.loading import call_with_options
from ssl_ce.errors import UserError, unknown
from ssl_ce.inpainters import inpainters
from ssl_ce.inpainters.base import Inpainter
from ssl_ce.inpainters.nearest import Nearest
from ssl_ce.inpainters.parametric import Parametric
from ssl_ce.methods.saved import load_run
from ssl_ce.references import parse_reference


def load(text: str, index: ImageSet | None = None, device: str = "cpu") -> Inpainter:
    """The inpainter that a reference names: a registered one, a run, or `nearest:DESCRIPTOR` searching `index`."""
    reference = parse_reference(text)
    if reference.scheme == "nearest":
        if index is None:
            raise UserError(
                f"'{text}' searches training images, and none were given. With ce evaluate, use --data or --index."
            )
        descriptor = load_descriptor(reference.target, device)
        if isinstance(descriptor, NetworkDescriptor) and descriptor.needs_calibration:
            descriptor = descriptor.calibrated(index)
        return Nearest(descriptor, index)
    if reference.scheme is None and reference.target in inpainters:
        return call_with_options(inpainters.get(reference.target), reference)
    if reference.scheme is not None or reference.target in descriptors:
        raise UserError(
            f"'{text}' describes images and fills no holes. To fill from its nearest contexts write nearest:{text}."
        )
    path = Path(reference.target)
    if not path.exists() and len(path.parts) == 1:
        raise unknown("inpainter or run", reference.target, inpainters.names())
    if reference.tap is not None or reference.options:
        raise UserError(
            f"A run fills holes with its whole network: write {reference.target}, without a tap or options."
        )
    return Parametric(text, load_run(path), device)
