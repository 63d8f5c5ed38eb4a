"""From a subject reference to an inpainter."""

from __future__ import annotations

import inspect
from pathlib import Path

from ssl_ce.data.imageset import ImageSet
from ssl_ce.descriptors import descriptors, load_descriptor
from ssl_ce.descriptors.base import Descriptor
from ssl_ce.descriptors.learned import NetworkDescriptor
from ssl_ce.descriptors.loading import call_with_options
from ssl_ce.errors import UserError, unknown
from ssl_ce.inpainters import inpainters
from ssl_ce.inpainters.base import Inpainter
from ssl_ce.inpainters.nearest import Nearest
from ssl_ce.inpainters.parametric import Parametric
from ssl_ce.methods.saved import load_run
from ssl_ce.references import SCHEMES, Reference, parse_reference, with_target

_OWN = ("k", "fill", "align", "index", "complete")
_SEARCHED = "searched"


def load(text: str, index: ImageSet | None = None, device: str = "cpu") -> Inpainter:
    """The inpainter that a reference names: a registered one, a run, or `nearest:DESCRIPTOR` searching `index`."""
    reference = parse_reference(text)
    if searches(text) and index is None:
        raise UserError(
            f"'{text}' searches training images, and none were given. Give --index FOLDER (ce evaluate: or --data, "
            "--train)."
        )
    if reference.scheme == "nearest":
        assert index is not None
        complete = reference.options.get("complete")
        if "complete" in reference.options and (complete is None or complete in SCHEMES):
            raise UserError(
                f"In the subject '{text}', complete takes an inpainter without a colon: complete=telea or runs/x."
            )
        descriptor = load_descriptor(reference.target, device)
        if isinstance(descriptor, NetworkDescriptor) and descriptor.needs_calibration:
            descriptor = descriptor.calibrated(index)
        completer = None if complete is None else load(str(complete), index, device)
        return nearest_of(reference, descriptor, index, completer, device)
    if reference.scheme is None and reference.target in inpainters:
        if reference.tap is not None:
            raise UserError(f"'{reference.target}' has no taps: leave out @{reference.tap}.")
        return call_with_options(
            inpainters.get(reference.target), reference, **({_SEARCHED: index} if searches(text) else {})
        )
    if reference.scheme == "fill":
        inner = parse_reference(reference.target)
        if inner.scheme is not None or inner.target in inpainters:
            raise UserError(f"'{text}': what follows fill: is a run, as in fill:runs/x.")
    elif reference.scheme is not None or reference.target in descriptors:
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


def nearest_of(
    reference: Reference,
    descriptor: Descriptor,
    searched: ImageSet,
    complete: Inpainter | None = None,
    device: str = "cpu",
) -> Nearest:
    """A `nearest` reference's inpainter over its descriptor, and over what completes its queries."""
    options = {name: value for name, value in reference.options.items() if name != "complete"}
    for name in options:
        if name not in _OWN:
            raise unknown("option of 'nearest'", name, _OWN)
    name = with_target(reference, descriptor.name)
    return Nearest(descriptor, searched, complete=complete, device=device, name=name, **options)


def searches(text: str) -> bool:
    """Whether the inpainter that a reference names searches an image set."""
    reference = parse_reference(text)
    if reference.scheme == "nearest":
        return True
    if reference.scheme is not None or reference.target not in inpainters:
        return False
    return _SEARCHED in inspect.signature(inpainters.get(reference.target)).parameters
