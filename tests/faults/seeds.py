"""Files that are whole: what `ce` itself writes, to be damaged."""

from __future__ import annotations

import yaml
from fuzzing import Case, Workplace
from malformed_images import encode
from malformed_settings import RECIPE


def make_seeds(place: Workplace) -> dict[str, bytes]:
    """Pictures, packed sets, a run, records with their outcomes, by the names under which they are used.

    What lies in the cache is kept under "cache/".
    """
    pictures = {
        f"photos/{split}/{name}/{number}.png": encode("png", "RGB", 4 * group + number)
        for group, (split, name) in enumerate((s, n) for s in ("train", "test") for n in ("left", "right"))
        for number in range(4)
    }
    found = {"a.png": encode("png", "RGB"), **pictures, "recipe.yaml": yaml.safe_dump(RECIPE).encode()}
    train, test = ["--train", "train.pack"], ["--test", "test.pack", "--no-floors", "--results", "out/records"]
    for command in (
        ["data", "pack", "photos", "--size", "32", "--out", "out/train.pack"],
        ["data", "pack", "photos", "--size", "32", "--split", "test", "--out", "out/test.pack"],
        ["data", "shard", "photos", "--size", "32", "--split", "test", "--out", "out/shards"],
        ["pretrain", "recipe.yaml", "--out", "out/run", "--device", "cpu", "--set", "optim.steps=2"],
        ["evaluate", "knn", "color-histogram", *train, *test, "--set", "neighbours=[1]", "--set", "headline=1"],
        ["evaluate", "inpainting", "mean-color", "telea", *train, *test, "--holes", "center"],
    ):
        place.run_whole(Case(command, found))
        written = (path for path in (place.work / "out").rglob("*") if path.is_file())
        found |= {str(path.relative_to(place.work / "out")): path.read_bytes() for path in written}
    cached = (path for path in place.cache.rglob("*") if path.is_file())
    return found | {f"cache/{path.relative_to(place.cache)}": path.read_bytes() for path in cached}
