"""Encoders from elsewhere: torchvision and timm models, and checkpoints in a file, behind the `Encoder` contract."""

from __future__ import annotations

import pickle
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssl_ce.errors import UserError, unknown
from ssl_ce.methods.saved import read_safetensors
from ssl_ce.networks.encoder import Encoder, EncoderConfig, InputSpec, StagedEncoder, build_encoder, wanted_taps

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


class HookedEncoder(nn.Module):
    """Any convolutional model as an encoder: its stages that give maps are taps, read by forward hooks.

    Taps are the model's direct children; of a `features` sequence, `conv1`, `pool1` ... after each ReLU and pooling
    layer, so that AlexNet's taps have the same names everywhere.
    """

    def __init__(self, model: nn.Module, spec: InputSpec) -> None:
        super().__init__()
        self.input = spec
        self.model = model.eval()
        self._places = _tap_places(model)
        shapes = self._run(torch.zeros(1, 3, spec.size, spec.size), set(self._places))
        self.taps: Mapping[str, tuple[int, int]] = {
            tap: (found.shape[1], round(spec.size / found.shape[-1])) for tap, found in shapes.items()
        }
        if not self.taps:
            raise UserError(
                f"{type(model).__name__} has no convolutional maps to tap; only convolutional networks can be encoders."
            )

    def maps(self, x: Tensor, taps: Iterable[str]) -> dict[str, Tensor]:
        """Normalised images (n, 3, size, size) -> {tap: (n, channels, h, w)}."""
        wanted = wanted_taps(self, taps)
        return self._run(x, wanted)

    def _run(self, x: Tensor, wanted: set[str]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}

        def keep(tap: str) -> Callable[[nn.Module, Any, Any], None]:
            def hook(module: nn.Module, inputs: Any, output: Any) -> None:
                if isinstance(output, Tensor) and output.ndim == 4:
                    found[tap] = output

            return hook

        handles = [place.register_forward_hook(keep(tap)) for tap, place in self._places.items() if tap in wanted]
        try:
            self.model(x)
        finally:
            for handle in handles:
                handle.remove()
        return found


def torchvision_encoder(name: str, *, pretrained: bool, seed: int = 0) -> HookedEncoder:
    """A torchvision model by name, with its default weights (downloaded by torchvision) or untrained."""
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise unknown("torchvision model", name, known)
    if not pretrained:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = torchvision.models.get_model(name, weights=None)
        return HookedEncoder(model, InputSpec(224, _IMAGENET_MEAN, _IMAGENET_STD))
    weights = torchvision.models.get_model_weights(name).DEFAULT
    transform = weights.transforms()
    spec = InputSpec(int(transform.crop_size[0]), tuple(transform.mean), tuple(transform.std))
    return HookedEncoder(
        _downloading(f"torchvision:{name}", lambda: torchvision.models.get_model(name, weights=weights)), spec
    )


def timm_encoder(name: str, *, pretrained: bool, seed: int = 0) -> HookedEncoder:
    """A timm model by name (extra `timm`), with its pretrained weights or untrained."""
    try:
        import timm
    except ImportError as error:
        raise UserError(f"timm:{name} needs the extra 'timm': pip install 'ssl-ce[timm]'") from error
    if name.partition(".")[0] not in timm.list_models():
        raise unknown("timm model", name, timm.list_models())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _downloading(f"timm:{name}", lambda: timm.create_model(name, pretrained=pretrained))
    config: dict[str, Any] = timm.data.resolve_model_data_config(model)  # type: ignore[attr-defined, no-untyped-call]
    return HookedEncoder(model, InputSpec(int(config["input_size"][-1]), tuple(config["mean"]), tuple(config["std"])))


def file_encoder(path: Path, config: EncoderConfig, size: int, *, prefix: str = "", partial: bool = False) -> Encoder:
    """One of our encoders with weights from somebody's file: safetensors, or a state dict that torch saved.

    Keys may be our own, or torchvision's for AlexNet, VGG-11 and ResNets (`features.0.weight`); `prefix` is stripped
    first. How many of the encoder's tensors were found is printed.

    Raises
    ------
    UserError
        If the file is unreadable or holds more than tensors, or covers the encoder only partly and `partial` is not
        set.
    """
    encoder: Any = build_encoder(config, size)
    own = encoder.state_dict()
    given = {key.removeprefix(prefix): value for key, value in read_state(path).items() if key.startswith(prefix)}
    if not own.keys() & given.keys():
        given = _from_torchvision(given, config.name, encoder)
    fitting = {key: value for key, value in given.items() if key in own and own[key].shape == value.shape}
    print(
        f"{path}: {len(fitting)} of {len(own)} tensors of the encoder '{config.name}' found and loaded.",
        file=sys.stderr,
    )
    if len(fitting) < len(own) and not partial:
        absent = next(key for key in own if key not in fitting)
        raise UserError(
            f"{path} covers {len(fitting)} of {len(own)} tensors of the encoder '{config.name}' at {size} pixels (not "
            f"'{absent}', for one). Give the right ?encoder=, size= or prefix=, or add partial=true to take it so."
        )
    encoder.load_state_dict({**own, **fitting})
    return encoder  # type: ignore[no-any-return]


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of somebody's weights file: safetensors, or a state dict that torch saved, read without running code.

    Raises
    ------
    UserError
        If the file is not there, is unreadable or holds more than tensors.
    """
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of foreign pickles; what matters is an error
            state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"There is no weights file {path}.") from error
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} holds more than tensors, so reading it could run code; it was not read. "
            "Save the state dict alone (torch.save(model.state_dict(), FILE)) or use safetensors."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} is not a readable weights file: {str(error).splitlines()[0]}.") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    tensors = (
        {key: value for key, value in state.items() if isinstance(value, Tensor)} if isinstance(state, dict) else {}
    )
    if not tensors:
        raise UserError(f"{path} holds no state dict (a mapping of names to tensors).")
    return tensors


def _from_torchvision(state: dict[str, Tensor], name: str, encoder: StagedEncoder) -> dict[str, Tensor]:
    """The tensors that torchvision's model has in common with our encoder `name`, under our keys."""
    places: dict[str, str] = {}
    if name.startswith("alexnet"):
        numbers = {"0": "conv1", "3": "conv2", "6": "conv3", "8": "conv4", "10": "conv5"}
        places = {f"features.{number}": f"stages.{stage}.0" for number, stage in numbers.items()}
    elif name.startswith("vgg"):
        layers = [
            f"stages.{tap}.{layer}"
            for tap, stage in encoder.stages.items()
            # What stands for a pooling layer is one layer in torchvision, whatever it is made of here.
            for layer in range(len(stage) if isinstance(stage, nn.Sequential) and tap.startswith("conv") else 1)
        ]
        places = {f"features.{number}": layer for number, layer in enumerate(layers)}
    elif name.startswith("resnet"):
        places = {"conv1": "stages.stem.0", "bn1": "stages.stem.1"}
        places |= {layer: f"stages.{layer}" for layer in encoder.stages if layer != "stem"}
    return {
        place + key.removeprefix(given): value
        for key, value in state.items()
        for given, place in places.items()
        if key.startswith(f"{given}.")
    }


def _tap_places(model: nn.Module) -> dict[str, nn.Module]:
    features = getattr(model, "features", None)
    if not isinstance(features, nn.Sequential) or not any(isinstance(layer, nn.ReLU) for layer in features):
        return dict(model.named_children())
    places: dict[str, nn.Module] = {}
    convolutions = 0
    for layer in features:
        if isinstance(layer, nn.Conv2d):
            convolutions += 1
        elif isinstance(layer, nn.ReLU):
            places[f"conv{convolutions}"] = layer
        elif isinstance(layer, nn.MaxPool2d):
            places[f"pool{convolutions}"] = layer
    return places


def _downloading(what: str, make: Callable[[], nn.Module]) -> nn.Module:
    """Make a model whose weights may have to be downloaded; a failed download is explained."""
    try:
        return make()
    except Exception as error:  # the hubs' errors share no base class
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise UserError(
            f"The pretrained weights of {what} could not be had: {reason}. They are downloaded on first use; "
            f"where there is no network, use random:{what} or put them in torch's cache."
        ) from error
