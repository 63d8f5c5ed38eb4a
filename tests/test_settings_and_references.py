from pathlib import Path

import pytest

from ssl_ce.errors import MachineError, UserError
from ssl_ce.files import atomic_write, digest, slug, write_text
from ssl_ce.references import Reference, parse_reference
from ssl_ce.settings import Precision, Settings, dump_yaml, override, parse, read_scalar, read_yaml


class Inner(Settings):
    lr: float = 0.1


class Outer(Settings):
    inner: Inner = Inner()
    maybe: Inner | None = None
    name: str = "x"


def test_a_misspelt_key_names_its_path_and_the_closest():
    with pytest.raises(UserError, match=r"In here: 'inner.lrr' is not a setting. Did you mean 'inner.lr'"):
        parse(Outer, {"inner": {"lrr": 1}}, "here")
    with pytest.raises(UserError, match=r"'maybe.l' is not a setting. Did you mean 'maybe.lr'"):
        parse(Outer, {"maybe": {"l": 1}}, "here")
    with pytest.raises(UserError, match=r"Valid here: inner, maybe, name"):
        parse(Outer, {"zzz": 1}, "here")


def test_assignments_override_and_leave_the_input_alone():
    values = {"inner": {"lr": 1.0}}
    assert override(values, ["inner.lr=1e-3", "name=[a]"]) == {"inner": {"lr": 1e-3}, "name": ["a"]}
    assert values == {"inner": {"lr": 1.0}}


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 1e-3), ("5", 5), ("true", True), ("null", None), ("abc", "abc"), ("1.5E+2", 150.0)],
)
def test_scalars_are_read_as_people_write_them(text: str, value: object):
    assert read_scalar(text) == value


def test_dumped_settings_read_back(tmp_path: Path):
    path = tmp_path / "settings.yaml"
    write_text(path, dump_yaml(Outer(name="ü")))
    assert parse(Outer, read_yaml(path), "file") == Outer(name="ü")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("runs/x", (None, "runs/x", None, {})),
        ("runs/x@conv4", (None, "runs/x", "conv4", {})),
        ("init:runs/x@conv4?pool=2", ("init", "runs/x", "conv4", {"pool": 2})),
        ("hog?cell=4&orientations=8", (None, "hog", None, {"cell": 4, "orientations": 8})),
        ("random:timm:resnet18", ("random", "timm:resnet18", None, {})),
        ("file:weights.pt?encoder=alexnet", ("file", "weights.pt", None, {"encoder": "alexnet"})),
        ("nearest:runs/x@conv4", ("nearest", "runs/x@conv4", "conv4", {})),
        ("C:/runs/x", (None, "C:/runs/x", None, {})),
    ],
)
def test_references_are_taken_apart(text: str, expected: tuple):
    assert parse_reference(text) == Reference(text, *expected)


@pytest.mark.parametrize("text", ["", "@conv4", "runs/x@", "hog?cell", "init:"])
def test_incomplete_references_are_refused(text: str):
    with pytest.raises(UserError):
        parse_reference(text)


def test_an_atomic_write_that_fails_leaves_what_was_there(tmp_path: Path):
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def write_half() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]


def test_an_unwritable_place_and_a_full_disk_are_told_apart(tmp_path: Path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(UserError, match="Choose another place"):
        write_text(blocker / "below" / "x.txt", "text")
    with pytest.raises(MachineError, match="disk is full"), atomic_write(tmp_path / "x"):
        raise OSError(28, "No space left on device")


def test_digests_tell_parts_apart():
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("a") == digest(b"a")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("center", "center"),
        ("masks/", "masks"),
        ("../my masks/ny", "my-masks-ny"),
        ("hog?cell=4", "hog-cell=4"),
        ("/", "-"),
    ],
)
def test_any_text_makes_a_files_name(text: str, name: str) -> None:
    assert slug(text) == name


def test_a_precision_of_32_is_the_same_as_a_number_and_as_a_text():
    class Numbers(Settings):
        precision: Precision = "auto"
        own: Precision | None = None

    assert parse(Numbers, override({}, ["precision=32"]), "here").precision == "32"
    assert parse(Numbers, {"precision": "32", "own": None}, "here") == Numbers(precision="32", own=None)
    assert parse(Numbers, {"own": 32}, "here").own == "32"
    with pytest.raises(UserError, match="precision"):
        parse(Numbers, {"precision": 16}, "here")
