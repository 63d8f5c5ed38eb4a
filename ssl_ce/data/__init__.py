"""Image sets. `open_set("digits", "train")`, `open_set("~/photos", "test", DataOptions(size=96))`.

A reference is a registered dataset, a folder of images, a packed file (`ce data pack`), or shards
(`ssl_ce.data.shards_opening`); after a "?" it may say which images are wanted (`ssl_ce.data.filters`):
"celeba?where=Mustache&count=240". What is registered is a `ssl_ce.data.source.Dataset`: the names of its splits and a
function that lists the images of one. A package adds its own with an entry point:

    [project.entry-points."ssl_ce.datasets"]
    streets = "my_package.data:streets"

    # my_package/data.py
    from ssl_ce.data import DataOptions
    from ssl_ce.data.source import Dataset, Source

    def read_streets(split: str, options: DataOptions) -> Source:
        folder = options.folder() / "streets" / split
        return Source("streets", split, sorted(folder.glob("*.jpg")))

    streets = Dataset(("train", "test"), read_streets)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssl_ce.data.options import DataOptions
from ssl_ce.registry import Registry

if TYPE_CHECKING:
    from ssl_ce.data.imageset import ImageSet
    from ssl_ce.data.source import Dataset

datasets: Registry[Dataset] = Registry("dataset", "ssl_ce.datasets")
datasets.add("digits", "ssl_ce.data.digits:digits", "1,797 handwritten digits of 8 x 8 pixels, embedded (scikit-learn)")
for _name, _attribute, _summary in (
    ("cifar10", "cifar10", "60,000 images of 32 x 32 pixels, 10 classes"),
    ("cifar100", "cifar100", "60,000 images of 32 x 32 pixels, 100 classes"),
    ("stl10", "stl10", "13,000 labelled and 100,000 unlabelled images of 96 x 96 pixels, 10 classes"),
    ("svhn", "svhn", "house numbers of 32 x 32 pixels, 10 classes"),
    ("mnist", "mnist", "70,000 handwritten digits of 28 x 28 pixels"),
    ("fashion-mnist", "fashion_mnist", "70,000 pieces of clothing of 28 x 28 pixels, 10 classes"),
    ("places365", "places365", "1.8 million scenes, 365 classes (the 256-pixel version)"),
    ("imagenet", "imagenet", "ILSVRC 2012: 1.28 million images, 1,000 classes"),
    ("imagenette", "imagenette", "13,394 images of ten ImageNet classes (the 320-pixel version)"),
    ("celeba", "celeba", "202,599 faces with 40 attributes"),
    ("flowers102", "flowers102", "8,189 flowers, 102 classes"),
    ("oxford-iiit-pet", "oxford_iiit_pet", "7,349 cats and dogs, 37 breeds"),
    ("eurosat", "eurosat", "27,000 satellite images of 64 x 64 pixels, 10 classes, split by seed"),
    ("food101", "food101", "101,000 dishes, 101 classes"),
    ("dtd", "dtd", "5,640 textures, 47 classes (partition 1)"),
    ("sun397", "sun397", "108,754 scenes, 397 classes, split by seed"),
    ("fgvc-aircraft", "fgvc_aircraft", "10,000 aircraft, 100 variants"),
    ("voc2007", "voc2007", "9,963 photographs, 20 classes, several in each (trainval, test)"),
    ("voc2012", "voc2012", "11,540 photographs, 20 classes, several in each (train, val)"),
    ("voc2007-segmentation", "voc2007_segmentation", "632 photographs, label maps of 21 classes (trainval, test)"),
    ("voc2012-segmentation", "voc2012_segmentation", "2,913 photographs, label maps of 21 classes (train, val)"),
):
    datasets.add(_name, f"ssl_ce.data.torchvision_sets:{_attribute}", _summary)


def open_set(reference: str, split: str, options: DataOptions | None = None) -> ImageSet:
    """One split of what `reference` names, packed into the cache directory first if it is not there yet.

    Shards are not packed: their images are decoded when they are read.

    Parameters
    ----------
    reference
        A registered dataset ("digits"), a folder, a packed file, or shards ("shards/", "x-{000..099}.tar"). A
        registered name wins over a folder of that name; write "./digits" for the folder. "?where=NAME&count=N" after
        the first two keeps images of that class or with that attribute, and so many of them by the options' seed; no
        others are decoded.
    split
        "train", "test", or another that `splits_of` names.

    Raises
    ------
    UserError
        If there is no such thing, it has no such split, its images cannot be read, or nothing can be written.
    MachineError
        If the packed file does not fit on the disk.
    """
    from ssl_ce.data.opening import open_images

    return open_images(reference, split, options or DataOptions())


def splits_of(reference: str, options: DataOptions | None = None) -> tuple[str, ...]:
    """The names of the splits that `open_set` can open, in order: ("train", "test"), say. Reads no image."""
    from ssl_ce.data.opening import find_splits

    return find_splits(reference, options or DataOptions())


__all__ = ["DataOptions", "datasets", "open_set", "splits_of"]
