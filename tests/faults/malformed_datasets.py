"""Registered datasets in a data root that somebody else filled."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterator, Mapping

from fuzzing import Case, Kind
from hypothesis import strategies as st
from malformed_files import Malicious, saved
from mutations import damaged


def dataset_kinds(seeds: Mapping[str, bytes]) -> Iterator[Kind]:
    """One kind; nothing of `seeds` is in it."""
    yield _datasets()


def _datasets() -> Kind:
    idx = {
        "train-images-idx3-ubyte": struct.pack(">IIII", 2051, 4, 28, 28) + bytes(4 * 784),
        "train-labels-idx1-ubyte": struct.pack(">II", 2049, 4) + bytes([0, 1, 2, 3]),
        "t10k-images-idx3-ubyte": struct.pack(">IIII", 2051, 2, 28, 28) + bytes(2 * 784),
        "t10k-labels-idx1-ubyte": struct.pack(">II", 2049, 2) + bytes([0, 1]),
    }
    mnist = {f"root/MNIST/raw/{name}": content for name, content in idx.items()}
    line = ["data", "info", "mnist", "--data-root", "root", "--no-duplicates"]
    others = st.sampled_from(list(_others()))
    damaged_mnist = st.sampled_from(sorted(idx)).flatmap(
        lambda name: damaged(idx[name]).map(lambda content: Case(line, {**mnist, f"root/MNIST/raw/{name}": content}))
    )
    return Kind("registered datasets", Case(line, mnist), st.one_of(damaged_mnist, damaged_mnist, others))


def _voc(text: bytes, listed: bytes) -> dict[str, bytes]:
    root = "VOCdevkit/VOC2007"
    sets = {f"{root}/ImageSets/Main/{name}.txt": listed for name in ("trainval", "test")}
    return {**sets, f"{root}/Annotations/a.xml": text, f"{root}/JPEGImages/a.jpg": b""}


def _others() -> Iterator[Case]:
    """Pickles that would run something, lists of files that lie elsewhere, annotations of nothing."""
    evil = pickle.dumps(Malicious())
    for name, files in (
        ("cifar10", {"cifar-10-batches-py/data_batch_1": evil, "cifar-10-batches-py/batches.meta": evil}),
        ("cifar100", {"cifar-100-python/train": evil, "cifar-100-python/meta": evil}),
        ("imagenet", {"meta.bin": evil, "train/n01/a.png": b"", "val/n01/a.png": b""}),
        ("imagenet", {"meta.bin": saved(({"n01": 5}, 3)), "train/n01/a.JPEG": b"", "val/n01/a.JPEG": b""}),
        (
            "places365",
            {
                "categories_places365.txt": b"../../x 0\n" * 9,
                "places365_train_standard.txt": b"/a/b x\n",
                "places365_val.txt": b"\xff\n",
            },
        ),
        (
            "celeba",
            {
                "celeba/list_attr_celeba.txt": b"1\nA B\n../../x.jpg 1 -1\n",
                "celeba/list_eval_partition.txt": b"../x.jpg 0\n",
            },
        ),
        ("dtd", {"dtd/dtd/labels/train1.txt": b"../../../x\n", "dtd/dtd/images/a/b.png": b""}),
        ("svhn", {"train_32x32.mat": evil, "test_32x32.mat": evil}),
    ):
        yield _asked(name, files)
    thing = b"<annotation><object><name>dragon</name></object></annotation>"
    for text in (b"<annotation/>", thing, b"<annotation>", b"<!DOCTYPE a><annotation/>", thing.replace(b"dragon", b"")):
        for listed in (b"a\n", b"../../../x\n", b"\xff\n", b""):
            yield _asked("voc2007", _voc(text, listed))


def _asked(name: str, files: Mapping[str, bytes]) -> Case:
    command = ["data", "info", name, "--data-root", "root", "--no-duplicates"]
    return Case(command, {f"root/{path}": content for path, content in files.items()})
