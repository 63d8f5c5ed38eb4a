"""Pretraining side by side: the public code's centre + adversarial training at 128 px, batch 64, from files to weights.

    python benchmarks/speed/pretraining.py [--rounds 3] [--steps 10] [--device cpu] [--out results/speed]
    python benchmarks/speed/pretraining.py --each       what each measure gives, one taken away at a time

Ours is `pretrain` with the recipe `ce-center-adv`; the peer is `plain_loop.py`, the same networks over the same JPEG
files. Each side runs in a process of its own, in turn, `--rounds` times; the first steps of each are not counted. Ours
reads a packed set, made once beforehand; packing is reported apart.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import plain_loop
import torch
from made import MadeImages
from operations import count
from PIL import Image
from side_by_side import Sheet, Spread, arguments
from torch import Tensor, nn

from ssl_ce.data import DataOptions, open_set
from ssl_ce.data.imageset import ImageSet
from ssl_ce.methods.context_encoder import ContextEncoder
from ssl_ce.networks.layers import PointConvTranspose2d, WholeMapConv2d
from ssl_ce.pretraining import loop, optimization, players
from ssl_ce.pretraining.hooks import Hooks, Progress
from ssl_ce.pretraining.recipe import load_recipe

_WARM_UP = 3
_BEST = "ours, bf16"
# Taken away from the best, or added to it.
_EACH = {
    "without bf16": "ours, fp32",
    "without the bottleneck as matrix products": "convolutions",
    "without channels-last": "contiguous",
    "without fused optimisers": "unfused",
    "without kept memory": "unkept",
    "without one generator forward a step (two)": "two forwards",
    "without packing (files decoded at each step)": "decoded",
    "with torch.compile": "compiled",
}


def main() -> None:
    """Measure and print, or, with `--side`, be one side."""
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--steps", type=int, default=10, help="steps counted each time, after the first three")
    parser.add_argument("--images", type=int, default=512, help="JPEG files of 400 x 350 pixels")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--each", action="store_true", help="what each measure gives")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(_side(options.side, options.scratch, options.device, options.steps))
        return
    name = "pretraining-each" if options.each else f"pretraining-{options.device}"
    sheet = Sheet(name, "Pretraining: centre + adversarial, 128 px, batch 64", options.out, options.device)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _write_files(folder / "files" / "made", options.images)
        started = time.perf_counter()
        _packed(folder)
        rate = options.images / (time.perf_counter() - started)
        sheet.note(f"Packing {options.images} files once, before: {rate:,.0f} images/s.")
        run = partial(_run, folder=folder, options=options)
        if options.each:
            _each(sheet, run, options.rounds)
        else:
            _sides(sheet, run, options.rounds, options.device)
    sheet.write()


def _sides(sheet: Sheet, run: Callable[[str], float], rounds: int, device: str) -> None:
    sides = [_BEST, "ours, fp32", "resident, bf16", "resident, fp32", "plain loop, fp32", "plain loop, bf16"]
    rates = _in_turn(sides, run, rounds, sheet)
    for side in sides:
        sheet.row({"side": side, "images/s (least to most)": str(Spread.of(rates[side]))}, "Rates")
    aim = 10.0 if device == "cuda" else 2.0
    for what, ours, peer, target in (
        ("files to weights / one resident batch, bf16", _BEST, "resident, bf16", 0.95),
        ("files to weights / one resident batch, fp32", "ours, fp32", "resident, fp32", 0.95),
        ("ours fp32 / plain loop fp32", "ours, fp32", "plain loop, fp32", aim),
        ("ours bf16 / plain loop fp32", _BEST, "plain loop, fp32", aim),
        ("ours bf16 / plain loop bf16", _BEST, "plain loop, bf16", None),
    ):
        ratio = Spread.of([own / other for own, other in zip(rates[ours], rates[peer], strict=True)])
        met = {} if target is None else {"target": f"≥ {target:g}", "met": "yes" if ratio.median >= target else "no"}
        sheet.row({"ratio": what, "median (least to most)": str(ratio)} | met, "Ratios")
    operations, peak = count(load_recipe("ce-center-adv"))[0], _peak(torch.device(device))
    achieved = operations * Spread.of(rates[_BEST]).median
    sheet.note(
        f"A step is {operations / 1e9:.2f} GFLOP an image (operations.py): {achieved / 1e12:.3g} TFLOP/s in bf16, "
        f"{achieved / peak:.0%} of what one large product of bfloat16 matrices reaches here ({peak / 1e12:.3g})."
    )


def _each(sheet: Sheet, run: Callable[[str], float], rounds: int) -> None:
    found = _in_turn([_BEST, *_EACH.values()], run, rounds, sheet)
    best = found[_BEST]
    sheet.row({"": "all of them, bf16", "images/s (least to most)": str(Spread.of(best)), "share of all": "1"})
    for what, side in _EACH.items():
        share = Spread.of([rate / whole for rate, whole in zip(found[side], best, strict=True)])
        sheet.row({"": what, "images/s (least to most)": str(Spread.of(found[side])), "share of all": str(share)})


def _in_turn(sides: list[str], run: Callable[[str], float], rounds: int, sheet: Sheet) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(rounds):
        for side in sides:
            found[side].append(run(side))
            print(f"round {number + 1}: {side}: {found[side][-1]:.1f} images/s", flush=True)
    sheet.raw.append({"images/s": found})
    return found


def _run(side: str, folder: Path, options: argparse.Namespace) -> float:
    command = [sys.executable, __file__, "--side", side, "--scratch", str(folder)]
    command += ["--device", options.device, "--steps", str(options.steps)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def _side(side: str, folder: Path, device: str, steps: int) -> float:
    """Images a second of one side."""
    if side.startswith("plain loop"):
        plain = plain_loop.train(folder / "files", torch.device(device), bf16=side.endswith("bf16"))
        return _rate(plain, steps, torch.device(device))
    return _ours(side, folder, device, steps)


def _rate(work: Iterator[None], steps: int, device: torch.device) -> float:
    started = 0.0
    for done, _ in enumerate(work, start=1):
        if done in (_WARM_UP, _WARM_UP + steps):
            if device.type == "cuda":
                torch.cuda.synchronize()
            if done > _WARM_UP:
                return plain_loop.BATCH * steps / (time.perf_counter() - started)
            started = time.perf_counter()
    raise AssertionError("the loop ended")


class _Enough(Exception):  # noqa: N818 - it ends the training; nothing is wrong
    """So many steps were timed."""


def _ours(side: str, folder: Path, device: str, steps: int) -> float:
    settings = [f"optim.epochs=null optim.steps={_WARM_UP + steps + 1} device={device} compile={side == 'compiled'}"]
    settings += [f"precision={'32' if side.endswith('fp32') else 'bf16'} log.every={_WARM_UP + steps + 1}"]
    settings += ["log.online_every=0 log.samples_every=0 log.checkpoint_every=0 log.held_out_every=0"]
    settings += ["log.tensorboard=false", *(["data.flip=false"] if side.startswith("resident") else [])]
    recipe = load_recipe("ce-center-adv", " ".join(settings).split())
    images: ImageSet = _packed(folder)
    if side.startswith("resident"):
        images = _Resident(images)
    elif side == "decoded":
        images = _Decoded(images, folder / "files" / "made")
    times: list[float] = []

    def show(state: Progress) -> None:
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter())
        if len(times) == _WARM_UP + steps:
            raise _Enough

    with tempfile.TemporaryDirectory() as out, ExitStack() as stack:
        _take_away(side, stack)
        with suppress(_Enough):
            loop.pretrain(recipe, images, Path(out) / "run", hooks=Hooks(progress=show))
    return plain_loop.BATCH * steps / (times[-1] - times[_WARM_UP - 1])


def _take_away(side: str, stack: ExitStack) -> None:
    """Undo one measure, until `stack` is left."""
    if side == "convolutions":
        stack.enter_context(mock.patch.object(WholeMapConv2d, "forward", nn.Conv2d.forward))
        stack.enter_context(mock.patch.object(PointConvTranspose2d, "forward", nn.ConvTranspose2d.forward))
    elif side == "contiguous":
        stack.enter_context(mock.patch.object(players.torch, "channels_last", torch.contiguous_format))
    elif side == "unfused":
        plain = partial(torch.optim.Adam)
        stack.enter_context(mock.patch.object(optimization, "Adam", lambda *a, fused, **k: plain(*a, **k)))
    elif side == "unkept":
        stack.enter_context(mock.patch.object(loop, "kept_memory", nullcontext))
    elif side == "two forwards":
        once = ContextEncoder.loss

        def twice(method: ContextEncoder, player: str, outputs: dict[str, Tensor]) -> Any:
            if player == "discriminator":
                with torch.no_grad():
                    outputs = method.forward(outputs)
            return once(method, player, outputs)

        stack.enter_context(mock.patch.object(ContextEncoder, "loss", twice))


class _Resident:
    """One batch in memory, at the size that is trained on: reading it costs nothing."""

    def __init__(self, images: ImageSet) -> None:
        self._batch = images.read(range(plain_loop.BATCH))[..., : plain_loop.SIDE, : plain_loop.SIDE].contiguous()
        self.name, self.split, self.task, self.classes = images.name, images.split, "none", ()
        self.fingerprint, self.source = images.fingerprint, images.source
        self.size = (plain_loop.SIDE, plain_loop.SIDE)

    def __len__(self) -> int:
        return plain_loop.BATCH

    def read(self, indices: Any) -> Tensor:
        return self._batch


class _Decoded:
    """The packed set's images, decoded from their files whenever they are read."""

    def __init__(self, images: ImageSet, folder: Path) -> None:
        self._paths = sorted(folder.iterdir())
        self.name, self.split, self.task, self.classes = images.name, images.split, "none", ()
        self.fingerprint, self.source, self.size = images.fingerprint, images.source, images.size

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, indices: Any) -> Tensor:
        from ssl_ce.data.decode import decode, fit_square

        pixels = [fit_square(decode(self._paths[int(place)]), plain_loop.LOADED, "crop") for place in indices]
        return torch.stack([torch.from_numpy(image) for image in pixels])


def _packed(folder: Path) -> ImageSet:
    options = DataOptions(size=plain_loop.LOADED, cache=folder / "cache")
    return open_set(str(folder / "files"), "all", options)


def _write_files(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number, pixels in enumerate(MadeImages(0, count, 400)):
        Image.fromarray(pixels[:350]).save(folder / f"{number:06d}.jpg", quality=90)


def _peak(device: torch.device) -> float:
    """Operations a second of one large product of bfloat16 matrices, the best of five."""
    side = 16384 if device.type == "cuda" else 2048
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(6):
        started = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2.0 * side**3 / best


if __name__ == "__main__":
    main()
