"""Encoders from elsewhere: torchvision and timm models behind the `Encoder` contract."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ssl_ce.errors import UserError, unknown
from ssl_ce.networks.encoder import InputSpec, wanted_taps

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


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


def torchvision_encoder(name: str, *, pretrained: bool, seed: int = 0, size: int = 224) -> HookedEncoder:
    """A torchvision model by name, untrained, or with its default weights (downloaded by torchvision) at their size."""
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise unknown("torchvision model", name, known)
    if not pretrained:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = torchvision.models.get_model(name, weights=None)
        return HookedEncoder(model, InputSpec(size, IMAGENET_MEAN, IMAGENET_STD))
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
