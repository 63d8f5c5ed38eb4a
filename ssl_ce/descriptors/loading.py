"""From a subject reference to a descriptor."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from ssl_ce.descriptors import descriptors
from ssl_ce.descriptors.base import Descriptor
from ssl_ce.descriptors.every_tap import tapped
from ssl_ce.errors import UserError, unknown
from ssl_ce.methods.saved import load_run
from ssl_ce.networks import encoders
from ssl_ce.networks.encoder import Encoder, EncoderConfig, build_encoder
from ssl_ce.references import Reference, parse_reference
from ssl_ce.settings import parse

T = TypeVar("T")

_AXES = tuple(axis for axis in EncoderConfig.model_fields if axis != "name")


def load(text: str, device: str = "cpu") -> Descriptor:
    """The descriptor that a reference names. See `ssl_ce.references` for the grammar."""
    reference = parse_reference(text)
    if reference.scheme is None and reference.target in descriptors:
        if reference.tap is not None:
            raise UserError(f"'{reference.target}' has no taps; write its options after '?', as in hog?cell=4.")
        return call_with_options(descriptors.get(reference.target), reference)
    if reference.scheme in (None, "init"):
        return _of_run(reference, device)
    if reference.scheme == "nearest":
        raise UserError(
            f"'{text}' fills holes and describes nothing; use it with ce evaluate inpainting or nn-inpainting."
        )
    options = dict(reference.options)
    pool = options.pop("pool", 4)
    encoder, untrained, notes = _external(reference, options)
    if options:
        file_options = ("encoder", "key", "prefix", "partial", "normalize") if _is_file(reference) else ("seed",)
        raise unknown(f"option of '{text}'", next(iter(options)), ("pool", "size", *file_options, *_AXES))
    return tapped(
        text,
        encoder,
        reference.tap,
        pool=pool,
        mean_fill=_mean_of(encoder),
        untrained=untrained,
        notes=notes,
        device=device,
    )


def call_with_options(target: Callable[..., T], reference: Reference, **extra: Any) -> T:
    """Call a registered target with a reference's options; an unknown one is answered with those it takes."""
    known = [name for name in inspect.signature(target).parameters if name not in extra]
    for option in reference.options:
        if option not in known:
            raise unknown(f"option of '{reference.target}'", option, known)
    return target(**reference.options, **extra)


def _of_run(reference: Reference, device: str) -> Descriptor:
    path = Path(reference.target)
    if not path.exists() and reference.scheme is None and len(path.parts) == 1:
        raise unknown("descriptor or run", reference.target, descriptors.names())
    initial = reference.scheme == "init"
    method = load_run(path, initial=initial)
    options = dict(reference.options)
    pool = options.pop("pool", 4)
    if options:
        raise unknown(f"option of '{reference.text}'", next(iter(options)), ("pool",))
    mean_fill = getattr(getattr(method, "config", None), "mean_fill", _mean_of(method.encoder))
    return tapped(
        reference.text,
        method.encoder,
        reference.tap,
        pool=pool,
        mean_fill=tuple(mean_fill),
        untrained=initial,
        device=device,
    )


def _external(reference: Reference, options: dict[str, Any]) -> tuple[Encoder, bool, dict[str, Any]]:
    """The encoder of `random:`, `torchvision:`, `timm:` or `file:`, whether it is untrained, and what a record says of
    it. Takes its options."""
    from ssl_ce.descriptors.checkpoints import FileOptions, file_encoder
    from ssl_ce.descriptors.external import timm_encoder, torchvision_encoder

    scheme, target = reference.scheme, reference.target
    makers = {"torchvision": torchvision_encoder, "timm": timm_encoder}
    if _is_file(reference):
        config = _encoder_config(options, options.pop("encoder", "alexnet"))
        given = {name: options.pop(name) for name in FileOptions.model_fields if name in options}
        how = parse(FileOptions, given, "the subject's options")
        untrained = scheme == "random"
        encoder, notes = file_encoder(Path(target.removeprefix("file:")), config, how, untrained=untrained)
        return encoder, untrained, notes
    if scheme in makers:
        return makers[scheme](target, pretrained=True), False, {}
    seed = int(options.pop("seed", 0))
    inner, colon, name = target.partition(":")
    if colon and inner in makers:
        return makers[inner](name, pretrained=False, seed=seed), True, {}
    if target not in encoders:
        raise unknown("encoder", target, [*encoders.names(), "torchvision:resnet18", "timm:resnet18"])
    return _untrained(target, int(options.pop("size", 128)), options, seed), True, {}


def _is_file(reference: Reference) -> bool:
    """Whether it is somebody's checkpoint, `file:PATH`, or the same encoder untrained, `random:file:PATH`."""
    return reference.scheme == "file" or (reference.scheme == "random" and reference.target.startswith("file:"))


def _untrained(name: str, size: int, options: dict[str, Any], seed: int) -> Encoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_encoder(_encoder_config(options, name), size)


def _encoder_config(options: dict[str, Any], name: str) -> EncoderConfig:
    taken: Mapping[str, Any] = {axis: options.pop(axis) for axis in _AXES if axis in options}
    return parse(EncoderConfig, {"name": name, **taken}, "the subject's options")


def _mean_of(encoder: Encoder) -> tuple[int, int, int]:
    """The grey or colour that the encoder's normalisation maps to 0."""
    red, green, blue = (round(255 * value) for value in encoder.input.mean)
    return red, green, blue
