"""Somebody's weights file as an encoder: what in it matches which tensor, and what to do when that is not all."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from ssl_ce.descriptors.external import IMAGENET_MEAN, IMAGENET_STD, HookedEncoder, torchvision_encoder
from ssl_ce.descriptors.weights_file import read_checkpoint
from ssl_ce.errors import UserError, one_line
from ssl_ce.methods.saved import check_finite, read_input, three
from ssl_ce.networks.encoder import Encoder, EncoderConfig, InputSpec, StagedEncoder, build_encoder, refuse_axes
from ssl_ce.networks.timm_encoders import PREFIX, TimmEncoder, joined
from ssl_ce.settings import Settings

Translate: TypeAlias = Callable[[str], str]  # a tensor's name in a file -> its name in the encoder, if it has one

_TORCHVISION = "torchvision:"
_SIZE, _THEIR_SIZE = 227, 224
_NAMED = 3


class FileOptions(Settings):
    """What a reference says after `file:PATH?`, beside the encoder.

    Attributes
    ----------
    size
        Side of the encoder's input. None: what the file says of itself, else 227, for foreign architectures 224.
    key
        Where in the file the state dict is, "." between the levels: "student", "teacher.backbone".
    prefix
        What every name in the file begins with. None: nothing, or the only prefix under which all is covered.
    partial
        Take a file that covers only a part of the encoder; the rest keeps initial weights.
    normalize
        What the encoder is fed: values with ImageNet's mean and deviation, or in [-1, 1] ("symmetric"). None: what the
        file says of itself, else the same as timm or torchvision for their names, else [-1, 1].
    """

    size: PositiveInt | None = None
    key: str | None = None
    prefix: str | None = None
    partial: bool = False
    normalize: Literal["imagenet", "symmetric"] | None = None


@dataclass(frozen=True)
class _Match:
    """The tensors of a file that an encoder has, under the encoder's names, read by one layout and prefix."""

    layout: str
    prefix: str
    found: Mapping[str, Tensor]
    misshapen: Mapping[str, tuple[int, ...]]
    left: Sequence[str]


def file_encoder(
    path: Path, config: EncoderConfig, options: FileOptions | None = None, *, untrained: bool = False
) -> tuple[Encoder, dict[str, str]]:
    """An encoder with the weights of somebody's file, and what a record says of how they matched.

    The file is safetensors, or a state dict that torch saved, bare or in a wrapper (`read_checkpoint`). Its tensors
    have our names, or torchvision's for AlexNet, VGG-11, ResNets and `torchvision:NAME`, or timm's for `timm:NAME`.
    What matched, what is missing and what is over is printed to stderr. With `untrained` the encoder keeps its initial
    weights, and is what the file's would be in all else: architecture, size, what it is fed.

    Raises
    ------
    UserError
        If the file is unreadable or holds more than tensors; if it covers the encoder only partly and `partial` is not
        set; if two prefixes cover it; if a value is not finite.
    """
    options = options or FileOptions()
    stated = read_input(path)
    tensors, kind = read_checkpoint(path, options.key)
    encoder = _network(config, options.size or (stated.size if stated else None))
    needed = _needed(encoder)
    match = _best(tensors, needed, _layouts(encoder, config.name), options, path)
    encoder.input = _fed(encoder.input.size, config.name, match.layout, stated, options.normalize)
    loaded = f"{len(match.found)} of {len(needed)} tensors of the encoder '{config.name}'"
    how = f"{match.layout} names" + (f", prefix '{match.prefix}' stripped" if match.prefix else "")
    if not untrained:
        print(one_line(f"{path}: {loaded} found ({kind}, {how})."), file=sys.stderr)
        for line in _report(match, needed, encoder):
            print(f"  {one_line(line)}", file=sys.stderr)
    absent = [key for key in needed if key not in match.found]
    if absent and not (options.partial and match.found):
        raise UserError(
            f"{path} covers {loaded} at {encoder.input.size} pixels (not '{absent[0]}', for one). Give the right "
            "?encoder=, size=, key= or prefix="
            + (", or add partial=true to take what there is." if match.found else ".")
        )
    if untrained:
        return encoder, {}
    check_finite(match.found, path)
    rest = {key: _placeholder(key, value, needed) for key, value in encoder.state_dict().items()}
    encoder.load_state_dict({**rest, **match.found})
    return encoder, {"checkpoint": f"{loaded}, from {kind}, {how}"}


def _network(config: EncoderConfig, size: int | None) -> Any:
    """The architecture with initial weights, always the same ones."""
    if config.name.startswith(_TORCHVISION):
        refuse_axes(config, *(axis for axis in EncoderConfig.model_fields if axis != "name"))
        return torchvision_encoder(config.name.removeprefix(_TORCHVISION), pretrained=False, size=size or _THEIR_SIZE)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_encoder(config, size or (_THEIR_SIZE if ":" in config.name else _SIZE))


def _needed(encoder: Any) -> dict[str, tuple[int, ...]]:
    """{name: shape} of the tensors that decide the encoder's maps. BatchNorm's counters of steps do not."""
    shapes = {
        key: tuple(value.shape)
        for key, value in encoder.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    if not isinstance(encoder, HookedEncoder):
        return shapes
    with torch.enable_grad():
        maps = encoder.maps(torch.zeros(1, 3, encoder.input.size, encoder.input.size), encoder.taps)
        torch.stack([found.sum() for found in maps.values()]).sum().backward()  # type: ignore[no-untyped-call]
    used = {key.rpartition(".")[0] for key, value in encoder.named_parameters() if value.grad is not None}
    encoder.zero_grad(set_to_none=True)
    return {key: shape for key, shape in shapes.items() if key.rpartition(".")[0] in used}


def _placeholder(key: str, value: Tensor, needed: Mapping[str, Any]) -> Tensor:
    """What a tensor holds that the file does not give: its initial values where it matters, else zeros."""
    return value if key in needed else torch.zeros_like(value)


def _layouts(encoder: Any, name: str) -> dict[str, Translate]:
    """{whose names: how they become the encoder's}, ours first."""
    layouts: dict[str, Translate] = {"our": lambda key: key}
    if isinstance(encoder, TimmEncoder):
        own = {joined(key.removeprefix("model.")): key for key in encoder.state_dict()}
        layouts["timm's"] = lambda key: own.get(joined(key), key)
    elif isinstance(encoder, HookedEncoder):
        layouts["torchvision's"] = lambda key: f"model.{key}"
    elif places := _torchvision_places(name, encoder):
        layouts["torchvision's"] = lambda key: next(
            (place + key.removeprefix(given) for given, place in places.items() if key.startswith(f"{given}.")), key
        )
    return layouts


def _torchvision_places(name: str, encoder: StagedEncoder) -> dict[str, str]:
    """{module of torchvision's model: the module of our encoder `name` that is the same}."""
    if name.startswith("alexnet"):
        numbers = {"0": "conv1", "3": "conv2", "6": "conv3", "8": "conv4", "10": "conv5"}
        return {f"features.{number}": f"stages.{stage}.0" for number, stage in numbers.items()}
    if name.startswith("vgg"):
        layers = [
            f"stages.{tap}.{layer}"
            for tap, stage in encoder.stages.items()
            # What stands for a pooling layer is one layer in torchvision, whatever it is made of here.
            for layer in range(len(stage) if isinstance(stage, nn.Sequential) and tap.startswith("conv") else 1)
        ]
        return {f"features.{number}": layer for number, layer in enumerate(layers)}
    if name.startswith("resnet"):
        blocks = {layer: f"stages.{layer}" for layer in encoder.stages if layer != "stem"}
        return {"conv1": "stages.stem.0", "bn1": "stages.stem.1", **blocks}
    return {}


def _best(
    tensors: Mapping[str, Tensor],
    needed: Mapping[str, tuple[int, ...]],
    layouts: Mapping[str, Translate],
    options: FileOptions,
    path: Path,
) -> _Match:
    """The match of the prefix that was asked for; without one that of no prefix, or of the only one that covers all."""
    matches = [
        _match(tensors, needed, layout, translate, options.prefix or "") for layout, translate in layouts.items()
    ]
    best = max(matches, key=lambda match: len(match.found))
    if options.prefix is not None or len(best.found) == len(needed):
        return best
    covering = {
        prefix: match
        for prefix in sorted(_prefixes(tensors))
        for layout, translate in layouts.items()
        if len((match := _match(tensors, needed, layout, translate, prefix)).found) == len(needed)
    }
    if len(covering) > 1:
        raise UserError(
            f"{path} covers the encoder under several prefixes: {', '.join(map(repr, covering))}. Say "
            f"which, as in prefix={next(iter(covering))}"
        )
    return next(iter(covering.values()), best)


def _prefixes(keys: Iterable[str]) -> set[str]:
    """Every beginning of a name that ends in a dot."""
    return {key[: place + 1] for key in keys for place, letter in enumerate(key) if letter == "."}


def _match(
    tensors: Mapping[str, Tensor],
    needed: Mapping[str, tuple[int, ...]],
    layout: str,
    translate: Translate,
    prefix: str,
) -> _Match:
    found: dict[str, Tensor] = {}
    misshapen: dict[str, tuple[int, ...]] = {}
    left: list[str] = []
    for key, value in tensors.items():
        place = translate(key.removeprefix(prefix)) if key.startswith(prefix) else ""
        if place not in needed:
            left.append(key)
        elif tuple(value.shape) == needed[place]:
            found[place] = value
        else:
            misshapen[place] = tuple(value.shape)
    return _Match(layout, prefix, found, misshapen, [key for key in left if not key.endswith("num_batches_tracked")])


def _fed(size: int, name: str, layout: str, stated: InputSpec | None, normalize: str | None) -> InputSpec:
    """What the weights expect, by what was asked for, what the file says of itself, or whose names it uses."""
    if normalize is None and stated is not None:
        return InputSpec(size, stated.mean, stated.std)
    if normalize == "symmetric" or (normalize is None and layout == "our" and ":" not in name):
        return InputSpec(size)
    if normalize is None and name.startswith(PREFIX):
        import timm

        trained = timm.get_pretrained_cfg(name.removeprefix(PREFIX), allow_unregistered=True)
        if trained is not None:
            return InputSpec(size, three(trained.mean), three(trained.std))
    return InputSpec(size, IMAGENET_MEAN, IMAGENET_STD)


def _report(match: _Match, needed: Mapping[str, tuple[int, ...]], encoder: Any) -> list[str]:
    """What did not match, a line for each kind, and what the encoder is fed."""
    missing = [key for key in needed if key not in match.found and key not in match.misshapen]
    shapes = [f"{key} is {given}, not {needed[key]}" for key, given in match.misshapen.items()]
    kinds = {"missing": missing, "of another shape": shapes, "in the file only": match.left}
    spec = encoder.input
    fed = (
        f"fed with values of mean {spec.mean} and deviation {spec.std} at {spec.size} x {spec.size} (normalize=, size=)"
    )
    return [*(f"{kind}: {_some(names)}" for kind, names in kinds.items() if names), fed]


def _some(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > _NAMED else ""
    return f"{len(names)} ({', '.join(names[:_NAMED])}{more})"
