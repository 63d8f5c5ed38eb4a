"""Malformed recipes, suites, assignments and references."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from fuzzing import Case, Kind
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from mutations import WORDS, damaged_text, damaged_yaml

RECIPE: dict[str, Any] = {
    "summary": "a small one",
    "method": {
        "name": "context-encoder", "size": 32, "encoder": {"name": "dcgan", "width": 0.1},
        "decoder": {"kind": "dcgan", "width": 0.1},
        "holes": {"strategy": "random-region", "options": {"low": 0.5, "high": 0.75, "correlation": 0.25}},
        "mean_fill": [78, 78, 78],
    },
    "data": {"source": "train.pack", "flip": False, "held_out": 0},
    "optim": {"optimizer": "adamw", "weight_decay": 1e-4, "lr": 1e-3, "batch_size": 4, "warmup_steps": 0, "steps": 1},
    "log": {"every": 1, "checkpoint_every": 0, "samples_every": 0, "online_every": 0, "tensorboard": False},
    "seed": 0,
}  # fmt: skip

_SUITE: dict[str, Any] = {
    "name": "mine",
    "summary": "a small one",
    "parameters": {"steps": 1, "bins": 4},
    "data": {"train": "train.pack", "test": "test.pack"},
    "seeds": [0, 1],
    "settings": {"optim.steps": "{steps}", "optim.epochs": None},
    "pretrain": {
        "one-{w}": {"recipe": "recipe.yaml", "over": {"w": [0.1, 0.2]}, "settings": {"method.encoder.width": "{w}"}},
        "two-{w}": {"extends": "one-{w}", "settings": {"optim.lr": 0.01}, "tap": "conv2", "with": {"c": 3}},
    },
    "evaluate": [
        {"evaluator": "knn", "subjects": ["{run}@conv2", "color-histogram?bins={bins}"],
         "settings": {"neighbours": [1], "headline": 1}},
        {"evaluator": "inpainting", "subjects": "mean-color", "runs": ["*"], "settings": {"holes": ["center"]}},
    ],
    "tables": [
        {
            "title": "Table 1", "source": "somebody", "evaluator": "inpainting",
            "variant": {"holes": "center"}, "columns": {"l1": {"better": "lower", "unit": "%"}},
            "rows": [{"label": "mean", "subject": "mean-color", "published": {"l1": [9.3, 9.4]}}],
        }
    ],
}  # fmt: skip

_PRETRAIN = ["pretrain", "recipe.yaml", "--out", "out/run", "--device", "cpu", "--steps", "1"]
_BENCHMARK = ["benchmark", "suite.yaml", "--dry-run", "--only", "one-0.1"]
_KEYS = (
    "optim.steps", "optim.lr", "optim.players.generator.lr", "method.encoder.width", "method.holes.options.low",
    "method.size", "method", "data.size", "seed", "log", "settings.optim.lr", "pretrain.two-{w}.settings.optim.lr",
    "seeds", "pretrain", "evaluate", "parameters.bins", "tables", "name",
)  # fmt: skip
_PARTS = (
    "hog", "gist", "pixels", "color-histogram", "telea", "mean-color", "fill", "nearest", "init", "random", "file",
    "run", "absent", "dcgan", "resnet18", "@", "@conv2", "@all", "?", "&", "=", ":", "%3A", "%00", "cell=4", "bins=4",
    "k=3", "complete=telea", "size=32", "width=0.1", "train.pack", "train.pack?count=2", "count=1", "where=left",
    "digits",
)  # fmt: skip


def settings_kinds(seeds: Mapping[str, bytes]) -> Iterator[Kind]:
    """Kinds that are text: `seeds` are the files that they speak of (`seeds.make_seeds`)."""
    packs = {name: seeds[name] for name in ("train.pack", "test.pack")}
    recipe = yaml.safe_dump(RECIPE, sort_keys=False).encode()
    suite = yaml.safe_dump(_SUITE, sort_keys=False).encode()
    beside = {**packs, "recipe.yaml": recipe, "suite.yaml": suite}

    whole = Case(_PRETRAIN, beside)
    damaged = damaged_yaml(RECIPE).map(lambda content: Case(_PRETRAIN, {**beside, "recipe.yaml": content}))
    yield Kind("recipes (YAML)", whole, damaged)

    bombs = st.sampled_from([yaml.safe_dump(bomb, sort_keys=False).encode() for bomb in _suite_bombs()])
    damaged = st.one_of(*[damaged_yaml(_SUITE)] * 4, bombs).map(
        lambda content: Case(_BENCHMARK, {**beside, "suite.yaml": content})
    )
    yield Kind("suites and published tables (YAML)", Case(_BENCHMARK, beside), damaged)

    changed = _assignments().flatmap(
        lambda text: st.sampled_from((_PRETRAIN, _BENCHMARK)).map(lambda line: Case([*line, "--set", text], beside))
    )
    yield Kind("--set", Case([*_PRETRAIN, "--set", "optim.lr=1e-2"], beside), changed)

    told = _references(("color-histogram?bins=4", "hog?cell=4", "run@conv2", "nearest?k=3:hog", "fill:run", "init:run",
                        "random:dcgan?width=0.1&size=32"))  # fmt: skip
    subjects = (
        [
            "evaluate",
            "knn",
            "{}",
            "--train",
            "train.pack",
            "--test",
            "test.pack",
            "--no-floors",
            "--set",
            "neighbours=[1]",
            "--set",
            "headline=1",
            "--results",
            "out/r",
        ],
        ["inpaint", "{}", "a.png", "-o", "out/a.png"],
    )
    sets = _references(("train.pack", "digits?count=9", "photos?count=1&where=left", "photos?max=1"))
    images = (["data", "info", "{}", "--no-duplicates"], ["data", "pack", "{}", "--size", "8", "--out", "out/a.pack"])
    files = {
        name: content for name, content in seeds.items() if name.startswith(("run/", "photos/", "a.", "train", "test"))
    }

    def typed(drawn: tuple[list[str], str]) -> Case:
        return Case([text if part == "{}" else part for part in drawn[0] for text in (drawn[1],)], files)

    yield Kind(
        "references",
        typed((subjects[0], "hog?cell=4")),
        st.one_of(
            st.tuples(st.sampled_from(subjects), told).map(typed),
            st.tuples(st.sampled_from(images), sets).map(typed),
        ),
    )


@st.composite
def _assignments(draw: DrawFn) -> str:
    if draw(st.booleans()):
        return f"{draw(st.sampled_from(_KEYS))}={draw(st.sampled_from(WORDS) | st.text(max_size=20))}".replace("\0", "")
    return _text(draw(damaged_text("optim.lr=1e-2")))


@st.composite
def _references(draw: DrawFn, whole: tuple[str, ...]) -> str:
    if draw(st.booleans()):
        text = _text(draw(damaged_text(draw(st.sampled_from(whole)))))
    else:
        text = "".join(draw(st.lists(st.sampled_from((*_PARTS, *WORDS[:30])), min_size=1, max_size=6)))
    return text.lstrip("-").replace("\0", "") or "x"


def _text(content: bytes) -> str:
    """What a shell could hand over: no NUL."""
    return content.decode("utf-8", "surrogateescape").replace("\0", "")


def _suite_bombs() -> Iterator[dict[str, Any]]:
    """Valid YAML, small, of which a suite would make very much."""
    many = {f"axis{number}": list(range(50)) for number in range(10)}
    name = "x-" + "-".join(f"{{{axis}}}" for axis in many)
    yield {**_SUITE, "pretrain": {name: {"recipe": "recipe.yaml", "over": many}}, "tables": []}
    yield {**_SUITE, "parameters": {"bins": "x" * 100_000, "steps": 1}, "summary": "{bins}" * 50_000}
    yield {**_SUITE, "seeds": list(range(200_000))}
    yield {**_SUITE, "pretrain": {"a": {"extends": "b"}, "b": {"extends": "a"}}}
    yield {**_SUITE, "pretrain": {"a": {"extends": "a"}}}
    yield {**_SUITE, "name": "../../beside"}
    yield {**_SUITE, "pretrain": {"../../beside": {"recipe": "recipe.yaml"}}, "tables": []}
    yield {**_SUITE, "parameters": {"bins": "{steps}", "steps": "{bins}"}}
