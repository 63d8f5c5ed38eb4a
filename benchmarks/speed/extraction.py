"""Feature extraction side by side: a packed set into the feature cache, against the encoder alone on a resident batch.

    python benchmarks/speed/extraction.py [--images 2000] [--rounds 5] [--device cpu] [--out results/speed]
    python benchmarks/speed/extraction.py 'random:alexnet?size=96' 'random:dcgan?size=64'

Ours reads every image, converts and normalises it, pools the map and writes the features; the peer gives its encoder
the same normalised batch again and again. A ratio of 1 means that all the rest costs nothing. Images are made.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from made import made_set
from side_by_side import Sheet, arguments

from ssl_ce.data.packing import PackedImages
from ssl_ce.descriptors import load_descriptor
from ssl_ce.descriptors.cache import FeatureCache
from ssl_ce.descriptors.learned import NetworkDescriptor

_ENCODERS = ("random:alexnet?size=96", "random:dcgan?size=64")
_BATCH = 64


def main() -> None:
    """Measure, print and write."""
    parser = arguments(__doc__)
    parser.add_argument("encoders", nargs="*", default=_ENCODERS, help="references of networks")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()

    sheet = Sheet("extraction", "Feature extraction beside the encoder alone", options.out, device=options.device)
    for reference in options.encoders:
        with tempfile.TemporaryDirectory() as name:
            descriptor = load_descriptor(reference, device=options.device)
            assert isinstance(descriptor, NetworkDescriptor)
            size = descriptor.encoder.input.size
            images = made_set("train", 0, options.images, size, Path(name))
            descriptor = descriptor.calibrated(images)
            sides = {
                "files to features": extraction(descriptor, images, name),
                "encoder alone": forward(descriptor, images),
            }
            what = f"{reference}, {len(images):,} images of {size} px"
            sheet.compare(what, sides, options.rounds, target=0.9, amount=len(images))
    sheet.write()


def extraction(descriptor: NetworkDescriptor, images: PackedImages, folder: str) -> Callable[[], object]:
    """Fills a new cache each time."""

    def work() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as cache:
            FeatureCache(Path(cache)).features(descriptor, images)

    return work


def forward(descriptor: NetworkDescriptor, images: PackedImages) -> Callable[[], object]:
    """The encoder up to the tap, on the first images, as often as it takes to see as many as there are."""
    encoder, device = descriptor.encoder, next(descriptor.encoder.parameters()).device
    batch = encoder.input.prepare(images.read(range(_BATCH)).to(device)).contiguous(memory_format=torch.channels_last)
    full, rest = divmod(len(images), _BATCH)

    @torch.no_grad()
    def work() -> None:
        for count in [_BATCH] * full + [rest] * bool(rest):
            encoder.maps(batch[:count], [descriptor.tap])
        if device.type == "cuda":
            torch.cuda.synchronize()

    return work


if __name__ == "__main__":
    main()
