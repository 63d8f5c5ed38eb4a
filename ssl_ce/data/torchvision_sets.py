"""torchvision's datasets: its code finds, checks and fetches the files, which are packed like all others."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssl_ce.data.boxes import read_annotation
from ssl_ce.data.options import DataOptions
from ssl_ce.data.source import Dataset, FilesBeside, RawImage, Source
from ssl_ce.data.splitting import split_by_seed
from ssl_ce.errors import MachineError, UserError, one_line


class _Content(NamedTuple):
    """What is taken out of one of torchvision's objects."""

    images: list[Any]
    targets: NDArray[np.int64] | None
    classes: tuple[str, ...]
    maps: FilesBeside | None = None
    annotations: FilesBeside | None = None


_Extract = Callable[[Any], _Content]
_BOTH: Mapping[str, Mapping[str, Any]] = {"train": {"train": True}, "test": {"train": False}}
_BY_NAME: Mapping[str, Mapping[str, Any]] = {"train": {"split": "train"}, "test": {"split": "test"}}
_TRAINVAL: Mapping[str, Mapping[str, Any]] = {"train": {"split": "trainval"}, "test": {"split": "test"}}
_VAL_AS_TEST: Mapping[str, Mapping[str, Any]] = {"train": {"split": "train"}, "test": {"split": "val"}}
_WITH_VAL: Mapping[str, Mapping[str, Any]] = {
    "train": {"split": "train"},
    "val": {"split": "val"},
    "test": {"split": "test"},
}


def _dataset(
    name: str,
    kind: str,
    layout: str,
    splits: Mapping[str, Mapping[str, Any]],
    extract: _Extract,
    *,
    size: int = 128,
    fetch: bool = True,
    multilabel: bool = False,
    fixed: Mapping[str, Any] | None = None,
) -> Dataset:
    """A dataset read by torchvision's class `kind`, called with `splits[split]` and `fixed`.

    `layout` is what the data root should hold. `fetch` is False where torchvision cannot download it.
    """

    def read(split: str, options: DataOptions) -> Source:
        given = {**splits[split], **(fixed or {})}
        content = _construct(name, kind, layout, given, extract, fetch, options)
        labelled = content.targets is not None
        return Source(
            name=name,
            split=split,
            images=content.images,
            task="none" if not labelled else "multilabel" if multilabel else "classes",
            classes=content.classes if labelled else (),
            targets=content.targets,
            maps=content.maps,
            annotations=content.annotations,
            origin={key: value for key, value in splits[split].items() if key != "train" and value != split},
        )

    return Dataset(tuple(splits), read, size)


def _split_by_seed(whole: Dataset) -> Dataset:
    """A dataset that comes as one piece, "all", with train and test splits drawn by the options' seed."""

    def read(split: str, options: DataOptions) -> Source:
        source = whole.read("all", options)
        if split == "all" or source.targets is None:
            return source
        # Where the files lie must not matter, nor the order in which the file system lists them.
        order = sorted(range(len(source)), key=lambda i: Path(str(source.images[i])).parts[-2:])
        names = ["/".join(Path(str(source.images[i])).parts[-2:]) for i in order]
        labels = source.targets[order]
        parts = split_by_seed(names, labels, round(options.test_share * len(names)), options.seed)
        chosen = parts[0] if split == "train" else parts[1]
        part = source.part([order[i] for i in chosen], split_seed=options.seed, test_share=options.test_share)
        return replace(part, split=split)

    return Dataset(("train", "test", "all"), read, whole.size)


def _construct(
    name: str,
    kind: str,
    layout: str,
    given: Mapping[str, Any],
    extract: _Extract,
    fetch: bool,
    options: DataOptions,
) -> _Content:
    from torchvision import datasets

    root = options.folder()
    make = getattr(datasets, kind)

    def read(**more: Any) -> _Content:
        try:
            return _checked(extract(make(root=str(root), **given, **more)))
        except (UserError, RuntimeError, OSError, MemoryError):
            raise
        except Exception as error:  # of a damaged file torchvision's readers raise nearly anything
            reason = one_line(str(error), 200) or type(error).__name__
            raise UserError(f"The files of {name} in {root} are damaged ({reason}). Fetch them again.") from error

    # torchvision talks on stdout, which belongs to the command's own output.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            return read()
        except (RuntimeError, OSError) as error:
            if not (options.download and fetch):
                way = "or fetch it with --download" if fetch else "it cannot be downloaded without an account"
                raise UserError(
                    f"{name} is not in {root}, or is incomplete: expected {layout} there. "
                    f"Give the folder that holds it with --data-root; {way}."
                ) from error
        try:
            return read(download=True)
        except (RuntimeError, OSError) as error:
            reason = " ".join(str(error).split())
            raise MachineError(f"{name} could not be fetched into {root}: {reason}.") from error


def _checked(content: _Content) -> _Content:
    """Some of torchvision's classes read lists without looking for the images."""
    first: RawImage | None = content.images[0] if content.images else None
    if isinstance(first, str | Path) and not Path(first).exists():
        raise FileNotFoundError(first)
    if content.targets is not None and len(content.targets) != len(content.images):
        raise ValueError(f"{len(content.images)} images and {len(content.targets)} targets")
    return content


def _arrays(found: Any) -> _Content:
    """Images in memory: `data` (n, h, w), (n, h, w, 3) or (n, 3, h, w), with `targets` or `labels`."""
    pixels = np.asarray(found.data)
    if pixels.ndim == 4 and pixels.shape[1] == 3:
        pixels = pixels.transpose(0, 2, 3, 1)
    given = found.targets if hasattr(found, "targets") else found.labels
    targets = np.asarray(given).astype(np.int64)
    labelled = bool((targets >= 0).all())
    names = getattr(found, "classes", None) or [str(number) for number in range(int(targets.max()) + 1)]
    return _Content(list(pixels), targets if labelled else None, tuple(names))


def _files(found: Any) -> _Content:
    """Two lists: paths and class numbers."""
    paths = found._images if hasattr(found, "_images") else found._image_files
    targets = np.asarray(found._labels, dtype=np.int64)
    names = getattr(found, "classes", None) or [str(number) for number in range(int(targets.max()) + 1)]
    return _Content(list(paths), targets, tuple(names))


def _pairs(found: Any) -> _Content:
    """One list of (path, class number)."""
    pairs = next(getattr(found, name) for name in ("samples", "_samples", "imgs") if hasattr(found, name))
    names = (name if isinstance(name, str) else ", ".join(name) for name in found.classes)
    targets = np.array([target for _, target in pairs], dtype=np.int64)
    return _Content([path for path, _ in pairs], targets, tuple(names))


def _celeba(found: Any) -> _Content:
    folder = Path(found.root) / found.base_folder / "img_align_celeba"
    attributes = np.asarray(found.attr).astype(np.int64)
    names = tuple(name for name in found.attr_names if name)
    return _Content([folder / name for name in found.filename], attributes, names)


VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def _voc(found: Any) -> _Content:
    """The classification task: 1 = an object of the class is there, 0 = none, -1 = only difficult ones."""
    targets = np.zeros((len(found.images), len(VOC_CLASSES)), dtype=np.int64)
    for row, annotation in zip(targets, found.targets, strict=True):
        for thing in read_annotation(Path(annotation)).iter("object"):
            number = VOC_CLASSES.index(thing.findtext("name", ""))
            difficult = thing.findtext("difficult", "0").strip() == "1"
            if not difficult:
                row[number] = 1
            elif row[number] == 0:
                row[number] = -1
    return _Content(list(found.images), targets, VOC_CLASSES, annotations=_beside(found.annotations))


def _voc_segmentation(found: Any) -> _Content:
    """Label maps and no targets: 0 is background, 255 (the border of an object, or what is left out) no class."""
    names = dict(enumerate(("background", *VOC_CLASSES)))
    return _Content(list(found.images), None, (), maps=_beside(found.masks, names))


def _beside(paths: Sequence[str], classes: Mapping[int, str] | None = None) -> FilesBeside:
    """Files of one folder, one for each image."""
    return FilesBeside(Path(paths[0]).parent, [Path(path).name for path in paths], classes or {})


_STL10: Mapping[str, Mapping[str, Any]] = {**_BY_NAME, "unlabeled": {"split": "unlabeled"}}
_SVHN: Mapping[str, Mapping[str, Any]] = {**_BY_NAME, "extra": {"split": "extra"}}
_PLACES: Mapping[str, Mapping[str, Any]] = {"train": {"split": "train-standard"}, "test": {"split": "val"}}
_CELEBA: Mapping[str, Mapping[str, Any]] = {**_WITH_VAL, "val": {"split": "valid"}}
_VOC2007: Mapping[str, Mapping[str, Any]] = {
    "train": {"image_set": "trainval"},
    "test": {"image_set": "test"},
}
_VOC2012: Mapping[str, Mapping[str, Any]] = {"train": {"image_set": "train"}, "test": {"image_set": "val"}}
_WHOLE: Mapping[str, Mapping[str, Any]] = {"all": {}}

cifar10 = _dataset("cifar10", "CIFAR10", "cifar-10-batches-py/", _BOTH, _arrays, size=32)
cifar100 = _dataset("cifar100", "CIFAR100", "cifar-100-python/", _BOTH, _arrays, size=32)
stl10 = _dataset("stl10", "STL10", "stl10_binary/", _STL10, _arrays, size=96)
svhn = _dataset("svhn", "SVHN", "train_32x32.mat and test_32x32.mat", _SVHN, _arrays, size=32)
mnist = _dataset("mnist", "MNIST", "MNIST/raw/", _BOTH, _arrays, size=32)
fashion_mnist = _dataset("fashion-mnist", "FashionMNIST", "FashionMNIST/raw/", _BOTH, _arrays, size=32)
places365 = _dataset(
    "places365",
    "Places365",
    "categories_places365.txt, places365_*.txt, data_256_standard/ and val_256/",
    _PLACES,
    _pairs,
    fixed={"small": True},
)
imagenet = _dataset(
    "imagenet",
    "ImageNet",
    "ILSVRC2012_devkit_t12.tar.gz with ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar",
    _VAL_AS_TEST,
    _pairs,
    fetch=False,
)
imagenette = _dataset("imagenette", "Imagenette", "imagenette2-320/", _VAL_AS_TEST, _pairs, fixed={"size": "320px"})
celeba = _dataset(
    "celeba",
    "CelebA",
    "celeba/img_align_celeba/ and the lists in celeba/*.txt",
    _CELEBA,
    _celeba,
    multilabel=True,
)
flowers102 = _dataset("flowers102", "Flowers102", "flowers-102/", _WITH_VAL, _files)
oxford_iiit_pet = _dataset(
    "oxford-iiit-pet",
    "OxfordIIITPet",
    "oxford-iiit-pet/images/ and oxford-iiit-pet/annotations/",
    _TRAINVAL,
    _files,
)
eurosat = _split_by_seed(_dataset("eurosat", "EuroSAT", "eurosat/2750/", _WHOLE, _pairs, size=64))
food101 = _dataset("food101", "Food101", "food-101/", _BY_NAME, _files)
dtd = _dataset("dtd", "DTD", "dtd/dtd/", _WITH_VAL, _files)
sun397 = _split_by_seed(_dataset("sun397", "SUN397", "SUN397/", _WHOLE, _files))
fgvc_aircraft = _dataset("fgvc-aircraft", "FGVCAircraft", "fgvc-aircraft-2013b/", _TRAINVAL, _files)
voc2007 = _dataset(
    "voc2007", "VOCDetection", "VOCdevkit/VOC2007/", _VOC2007, _voc, multilabel=True, fixed={"year": "2007"}
)
voc2012 = _dataset(
    "voc2012", "VOCDetection", "VOCdevkit/VOC2012/", _VOC2012, _voc, multilabel=True, fixed={"year": "2012"}
)
voc2007_segmentation = _dataset(
    "voc2007-segmentation", "VOCSegmentation", "VOCdevkit/VOC2007/", _VOC2007, _voc_segmentation, fixed={"year": "2007"}
)
voc2012_segmentation = _dataset(
    "voc2012-segmentation", "VOCSegmentation", "VOCdevkit/VOC2012/", _VOC2012, _voc_segmentation, fixed={"year": "2012"}
)
