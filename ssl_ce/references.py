"""How subjects are written: `REF[@TAP][?key=value&...]`.

    runs/x              a run                     init:runs/x           its network before training
    runs/x@conv4        one tap of it             random:alexnet        an untrained network
    torchvision:alexnet pretrained                timm:resnet18         pretrained (extra `timm`)
    random:timm:resnet18  untrained               file:weights.pt?encoder=alexnet
    random:file:weights.pt?encoder=alexnet        the same encoder, untrained
    hog?cell=4          a descriptor's options    nearest:hog           an inpainter over a descriptor
    fill:runs/x         a run as an inpainter     nearest?k=5&fill=poisson:hog   with options of its own

This module only takes the text apart; the rooms that own descriptors and inpainters give it meaning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from ssl_ce.errors import UserError
from ssl_ce.files import digest
from ssl_ce.settings import read_scalar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SCHEMES = ("init", "random", "torchvision", "timm", "file", "nearest", "fill")


@dataclass(frozen=True)
class Reference:
    """A subject reference, taken apart.

    Parameters
    ----------
    text
        The whole reference as written.
    scheme
        One of `SCHEMES`, or None for a run or a registered name.
    target
        What the scheme applies to: a path, a name, or (for `nearest`, `fill`, `random`) another reference's text.
    tap
        The part after `@`, or None.
    options
        The parts after `?`, values read as YAML scalars. Those of `nearest` stand before the colon, so a colon in
        them is written %3A.
    """

    text: str
    scheme: str | None
    target: str
    tap: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def parse_reference(text: str) -> Reference:
    """Take `text` apart.

    Raises
    ------
    UserError
        If it is empty, or an option is not of the form key=value.
    """
    head, colon, rest = text.partition(":")
    scheme, question, own = head.partition("?")
    if not colon or scheme not in SCHEMES or (question and scheme != "nearest"):
        scheme, rest = "", text
    if not scheme and head.partition("?")[0] == "nearest":
        raise UserError(f"The subject '{text}' does not say what describes the images. Write {text}:hog.")
    if scheme in ("nearest", "fill"):
        return Reference(text, scheme, rest, parse_reference(rest).tap, _options(own, text))
    body, _, query = rest.partition("?")
    target, at, tap = body.rpartition("@")
    if not at:
        target, tap = body, ""
    options = _options(query, text)
    if not target or (at and not tap):
        raise UserError(
            f"The subject '{text}' is incomplete: write REF, REF@TAP or REF?key=value, for example runs/x@conv4."
        )
    return Reference(text, scheme or None, target, tap or None, options)


def made_of(text: str) -> Iterator[Reference]:
    """The simple references that one is made of: itself; of `nearest` the descriptor and what completes its queries; of
    `fill` the run."""
    reference = parse_reference(text)
    if reference.scheme not in ("nearest", "fill"):
        yield reference
        return
    yield from made_of(reference.target)
    if reference.options.get("complete"):
        yield from made_of(str(reference.options["complete"]))


def with_target(reference: Reference, target: str) -> str:
    """The text of a `nearest` or `fill` reference, its options kept, over another target."""
    return f"{reference.text.partition(':')[0]}:{target}"


def with_option(reference: Reference, option: str, value: str) -> str:
    """The text of a `nearest` reference with one more option of its own."""
    head, _, rest = reference.text.partition(":")
    return f"{head}{'&' if reference.options else '?'}{option}={value}:{rest}"


def reference_of(name: str, subject: DataclassInstance) -> str:
    """The shortest text that makes `subject` again, as `hog?cell=4`: its init fields, defaults left out."""
    given = (f for f in fields(subject) if f.init and getattr(subject, f.name) != f.default)
    options = "&".join(_written(f.name, subject) for f in given)
    return f"{name}?{options}" if options else name


def identity_of(name: str, version: int, subject: DataclassInstance) -> str:
    """Hash of a subject that is no more than its init fields; a change of its numbers raises `version`."""
    return digest(name, str(version), *(_written(f.name, subject) for f in fields(subject) if f.init))


def check_whole(subject: str, option: str, value: Any, low: int, high: int, multiple: int = 1) -> None:
    """Refuse an option (`UserError`) that is no whole number in [low, high], or no multiple of `multiple`."""
    if type(value) is not int or not low <= value <= high or value % multiple:
        kind = "a whole number" if multiple == 1 else f"a multiple of {multiple}"
        raise UserError(f"'{subject}' takes {option} as {kind} from {low} to {high}; {value!r} is not.")


def check_flag(subject: str, option: str, value: Any) -> None:
    """Refuse an option (`UserError`) that is neither true nor false."""
    if not isinstance(value, bool):
        raise UserError(f"'{subject}' takes {option} as true or false; {value!r} is neither.")


def _options(query: str, text: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for pair in query.split("&") if query else ():
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise UserError(f"In the subject '{text}', what follows '?' must be key=value pairs joined by '&'.")
        if key in options:
            raise UserError(f"The subject '{text}' gives {key} twice. Leave one out.")
        options[key] = read_scalar(unquote(value))
    return options


def _written(option: str, subject: DataclassInstance) -> str:
    value = getattr(subject, option)
    return f"{option}={str(value).lower() if isinstance(value, bool) else value}"
