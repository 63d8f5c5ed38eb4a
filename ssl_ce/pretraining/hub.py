"""A run on the Hugging Face Hub: what of it is uploaded, its model card, and a download that trusts nothing (`hub`)."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from ssl_ce.errors import UserError
from ssl_ce.files import check_folder, is_full
from ssl_ce.methods.saved import ENCODER, INITIAL_ENCODER, RECIPE, WEIGHTS, load_run, read_run_recipe
from ssl_ce.pretraining.run import MANIFEST, RunDirectory
from ssl_ce.records.record import Record
from ssl_ce.references import made_of
from ssl_ce.settings import dump_yaml

CARD = "README.md"
FILES = (RECIPE, WEIGHTS, ENCODER, INITIAL_ENCODER, MANIFEST, "log.csv")
"""What of a run is uploaded and downloaded. Not what resumes it (checkpoint.pt, a pickle), not its pictures."""

_SAMPLES = "samples/*.png"
_OF_THIS_MACHINE = ("command", "device_name", "platform")


def push_run(
    run: Path, repo: str, *, private: bool = False, samples: bool = False, records: Sequence[Record] = ()
) -> str:
    """Upload `run` to the Hub's repository `repo` ("user/name"), made if it is not there; returns its address.

    Who may write there is huggingface_hub's business (`hf auth login`, or HF_TOKEN).

    Parameters
    ----------
    samples
        Upload the pictures of fills too; they show the images it was trained on.
    records
        Results for the model card; those of other subjects are left out.

    Raises
    ------
    UserError
        If `run` is not a run, huggingface_hub is missing, or the Hub refuses.
    """
    hub = _hub()
    load_run(run)
    contents: dict[str, Path | bytes] = {name: run / name for name in FILES if (run / name).is_file()}
    if samples:
        contents |= {path.relative_to(run).as_posix(): path for path in sorted(run.glob(_SAMPLES))}
    contents |= {name: text.encode() for name, text in _without_paths(RunDirectory(run)).items()}
    contents[CARD] = model_card(run, repo, records).encode()
    operations = [hub.CommitOperationAdd(name, file) for name, file in contents.items()]
    try:
        api = hub.HfApi()
        api.create_repo(repo, private=private, exist_ok=True)
        commit = api.create_commit(repo, operations, commit_message=f"Upload {run.name}")
    except Exception as error:  # the Hub's errors, and those of its network library, share no base class
        _explain(error, f"{run} could not be uploaded to {repo}")
    return str(getattr(commit, "repo_url", repo))


def pull_run(repo: str, out: Path, revision: str | None = None) -> None:
    """Download the run in the Hub's repository `repo` to the new directory `out`.

    What is downloaded is not trusted: only the files of a run by their names, no links, weights as safetensors, and it
    must load before it is put in its place.

    Raises
    ------
    UserError
        If `out` is there already, huggingface_hub is missing, the Hub refuses, or what comes is no run.
    """
    hub = _hub()
    if out.exists():
        raise UserError(f"{out} exists already. Choose another --out.")
    check_folder(out.parent)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary:
        fetched, checked = Path(temporary) / "fetched", Path(temporary) / "checked"
        try:
            hub.snapshot_download(repo, revision=revision, local_dir=fetched, allow_patterns=[*FILES, CARD])
        except Exception as error:  # as above
            _explain(error, f"{repo} could not be downloaded")
        checked.mkdir()
        for name in (*FILES, CARD):
            path = fetched / name
            if path.is_symlink():
                raise UserError(f"{repo} is not a run to trust: {name} is a link. Nothing was kept of it.")
            if path.is_file():
                shutil.move(path, checked / name)
        try:
            load_run(checked)
        except UserError as error:
            reason = str(error).replace(str(checked), repo)
            raise UserError(f"What {repo} holds cannot be used, and nothing was kept of it. {reason}") from error
        checked.replace(out)


def model_card(run: Path, repo: str, records: Sequence[Record] = ()) -> str:
    """The README.md of a run on the Hub, in Markdown: what it is, how it was made, how to use it, what it scored."""
    recipe, manifest = read_run_recipe(run), RunDirectory(run).manifest()
    method = recipe["method"]
    data = manifest.get("data", {})
    encoder = method.get("encoder")
    facts = {
        "method": method.get("name"),
        "encoder": encoder.get("name") if isinstance(encoder, dict) else None,
        "images": f"{data['n']:,} of {data['name']} ({data['split']})"
        if {"n", "name", "split"} <= data.keys()
        else None,
        "fingerprint of the images": data.get("fingerprint"),
        "steps": manifest.get("step"),
        "images seen": manifest.get("images_seen"),
        "seed": recipe.get("seed"),
        "ssl-ce": manifest.get("versions", {}).get("ssl-ce"),
    }
    rows = [f"| {name} | {value} |" for name, value in facts.items() if value is not None]
    name = repo.rpartition("/")[2]
    return "\n".join(
        [
            "---",
            "library_name: ssl-ce",
            "tags: [self-supervised-learning, inpainting, image-feature-extraction]",
            "---",
            "",
            f"# {name}",
            "",
            f"{recipe.get('summary') or 'A self-supervised encoder'} (made with `ssl-ce`).",
            "",
            "| | |",
            "|---|---|",
            *rows,
            "",
            f"`{RECIPE}` holds every setting. No license is stated here: the owner of this repository says which.",
            "",
            "    pip install 'ssl-ce[hub]'",
            f"    ce hub pull {repo} -o {name}",
            f"    ce evaluate knn {name} --data REF",
            "",
            *_scores(run, records),
        ]
    )


def _without_paths(run: RunDirectory) -> dict[str, str]:
    """Recipe and manifest as texts, without what they say of this machine and where on it the images lie."""
    recipe = run.recipe()
    if recipe.data.source is not None:
        named = recipe.data.model_copy(update={"source": Path(recipe.data.source).name})
        recipe = recipe.model_copy(update={"data": named})
    manifest = {name: value for name, value in run.manifest().items() if name not in _OF_THIS_MACHINE}
    if isinstance(manifest.get("data"), dict):
        manifest["data"] = {name: value for name, value in manifest["data"].items() if name != "source"}
    return {RECIPE: dump_yaml(recipe), MANIFEST: json.dumps(manifest, indent=2) + "\n"}


def _scores(run: Path, records: Sequence[Record]) -> list[str]:
    """A table of the run's own records, the headline metric of each."""
    own = [
        record
        for record in records
        if any(part.scheme is None and Path(part.target) == run for part in made_of(record.subject.name))
    ]
    if not own:
        return []
    rows = []
    for record in own:
        name, metric = next(iter(record.metrics.items()))
        variant = ", ".join(f"{key}: {value}" for key, value in record.variant.items())
        tap = record.subject.name.replace(str(run), run.name)
        judged = f"{record.dataset.name} ({record.dataset.split}, {record.dataset.n:,})"
        rows.append(f"| {tap} | {record.protocol} | {variant} | {judged} | {name} | {metric.value:.4g} |")
    return ["| subject | protocol | variant | images | metric | value |", "|---|---|---|---|---|---|", *rows, ""]


def _hub() -> ModuleType:
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError("The Hugging Face Hub needs the extra 'hub': pip install 'ssl-ce[hub]'") from error
    return huggingface_hub


def _explain(error: Exception, what: str) -> NoReturn:
    """What the Hub or the network said, on one line."""
    if isinstance(error, OSError) and is_full(error):
        raise error
    lines: list[Any] = (str(error) or type(error).__name__).strip().splitlines()
    raise UserError(
        f"{what}: {lines[0].rstrip('.: ')}. Check the name (user/name), the network, and who you are (hf auth login)."
    ) from error
