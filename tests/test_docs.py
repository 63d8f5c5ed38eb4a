"""The pages tell the truth: examples run, commands parse, links lead somewhere, and nothing is left out."""

from __future__ import annotations

import configparser
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image

from ssl_ce.cli import cli
from ssl_ce.cli.listing import REGISTRIES, registry
from ssl_ce.data import DataOptions, open_set
from ssl_ce.evaluators import evaluators
from ssl_ce.networks import encoders
from ssl_ce.pretraining.loop import pretrain
from ssl_ce.pretraining.recipe import builtin_recipes, load_recipe
from ssl_ce.references import parse_reference
from ssl_ce.registry import Registry
from ssl_ce.settings import override, parse

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
BUILT_IN = {kind: registry(kind).names() for kind in REGISTRIES} | {
    "recipes": list(builtin_recipes()),
    "encoders": encoders.names(),
}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def examples(page: str) -> list[object]:
    """The page's Python blocks, each called after the heading it stands under."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    for match in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        heading = re.findall(r"^#+ (.*)$", text[: match.start()], re.MULTILINE)[-1]
        found.append(pytest.param(match[1], id=heading.lower().replace(" ", "-")))
    return found


def commands(page: Path) -> list[str]:
    """Every `ce ...` of a page: behind a prompt in its console blocks, and alone between backticks in its text."""
    text = page.read_text(encoding="utf-8")
    shown = "\n".join(blocks(page, "console")).replace("\\\n", " ")
    typed = re.findall(r"^\$ (ce .*)$", shown, re.MULTILINE)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return typed + [" ".join(found.split()) for found in re.findall(r"`(ce\s[^`]+)`", prose)]


@pytest.fixture
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def clean_registries() -> Iterator[None]:
    """Whatever an example registers is forgotten after it."""
    registries = [*(registry(kind) for kind in REGISTRIES), encoders]
    before = [set(one.names()) for one in registries]
    yield
    for one, names in zip(registries, before, strict=True):
        for name in set(one.names()) - names:
            one.remove(name)


@pytest.fixture
def photos_and_run(in_a_folder_of_its_own: Path) -> None:
    """What the README's reader has by then: photos/ with train/ and test/, and a run of `ce-alexnet-96` (tiny)."""
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("forest", "sea"):
            folder = Path("photos", split, name)
            folder.mkdir(parents=True)
            for number in range(8):
                pixels = generator.integers(0, 256, (100, 100, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    narrow = ["method.encoder.width=0.1", "method.decoder.width=0.1", "data.size=96", "log.tensorboard=false"]
    short = ["optim.epochs=null", "optim.steps=1", "optim.batch_size=4", "data.source=photos"]
    recipe = load_recipe("ce-alexnet-96", [*narrow, *short])
    pretrain(recipe, open_set("photos", "train", DataOptions(size=96)), Path("runs/mine"))


@pytest.mark.parametrize("example", examples("docs/architecture.md"))
def test_an_example_of_the_architecture_page_runs(
    example: str, in_a_folder_of_its_own: Path, clean_registries: None
) -> None:
    exec(compile(example, "docs/architecture.md", "exec", dont_inherit=True), {"__name__": "example"})


def test_a_package_of_plug_ins_is_known_by_its_entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = ROOT / "docs" / "architecture.md"
    groups = tomllib.loads(blocks(page, "toml")[0])["project"]["entry-points"]
    metadata = tmp_path / "my_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    entry_points = configparser.ConfigParser()
    entry_points.read_dict(groups)
    with (metadata / "entry_points.txt").open("w") as file:
        entry_points.write(file)
    (tmp_path / "my_package").mkdir()
    for targets in groups.values():
        module, _, attribute = next(iter(targets.values())).partition(":")
        example = next(text for text in blocks(page, "python") if re.search(rf"^(def|class) {attribute}\b", text, re.M))
        definition = re.split(r"^\w+\.add\(", example, flags=re.MULTILINE)[0]
        (tmp_path / (module.replace(".", "/") + ".py")).write_text(definition)
    monkeypatch.syspath_prepend(str(tmp_path))
    for group, targets in groups.items():
        plugins: Registry[object] = Registry("plug-in", group)
        for name in targets:
            assert plugins.entry(name).summary == "plug-in of my-package"
            assert callable(plugins.get(name))


def test_every_group_of_entry_points_is_named() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for one in (*(registry(kind) for kind in REGISTRIES), encoders):
        assert f"`{one.group}`" in text


@pytest.mark.parametrize("example", examples("README.md"))
def test_an_example_of_the_readme_runs(example: str, photos_and_run: None, clean_registries: None) -> None:
    exec(compile(example, "README.md", "exec", dont_inherit=True), {"__name__": "example"})


@pytest.mark.parametrize(
    ("page", "command"),
    [pytest.param(page.name, command, id=f"{page.name}: {command}") for page in PAGES for command in commands(page)],
)
def test_a_command_that_is_shown_is_understood(page: str, command: str) -> None:
    words = shlex.split(re.split(r" [|>] ", command)[0], comments=True)[1:]
    path, found = [], cli
    while isinstance(found, click.Group) and words and not words[0].startswith("-"):
        path.append(words.pop(0))
        child = found.get_command(click.Context(found), path[-1])
        assert child is not None, f"{page} shows `{command}`, and there is no command '{' '.join(path)}'"
        found = child
    if not words:  # a command's name alone
        return
    try:
        values = found.make_context(" ".join(path), words).params
    except click.exceptions.Exit:  # --help and --version
        return
    assignments = values.get("assignments", ())
    if path[:1] == ["pretrain"] and values["recipe"] in BUILT_IN["recipes"]:
        load_recipe(values["recipe"], assignments)
    if path[:1] == ["evaluate"] and len(path) == 2:
        holes = values.get("holes") or ()
        parse(evaluators.get(path[1]).Config, override({"holes": list(holes)} if holes else {}, assignments), page)
        for subject in values["subjects"]:
            parse_reference(subject)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        other = (page.parent / place).resolve() if place else page
        assert other.exists(), f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", other.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {_anchor(heading) for heading in headings}, f"{page.name} links to {target}"


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, names in BUILT_IN.items() if kind != "datasets" for name in names]
)
def test_what_is_built_in_is_written_about(kind: str, name: str) -> None:
    prose = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    written = re.search(rf"`[^`\n]*(?<![\w-]){re.escape(name)}(?![\w-])[^`\n]*`", prose)
    assert written, f"no page speaks of '{name}' ({kind})"


def test_every_protocol_is_written_down_with_its_version() -> None:
    text = (ROOT / "docs" / "protocols.md").read_text(encoding="utf-8")
    for name in evaluators.names():
        found = evaluators.get(name)
        assert f"## `{found(found.Config()).protocol}`" in text


def _anchor(heading: str) -> str:
    """GitHub's: lower case, spaces as hyphens, punctuation left out."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
