"""Malformed inputs by the thousand, each through the command line, and how they ended.

    python benchmarks/faults/fuzz.py --inputs 6000

Every kind in `tests/faults/` gets the same share; the inputs are the same every time. Writes `fuzz.csv` and `fuzz.md`
to `--out`, and ends with 1 if one input was not refused in one line and not valid either.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

_ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(_ROOT / "tests" / "faults"))
os.environ.setdefault("OMP_NUM_THREADS", "1")

from fuzzing import MIB, SECONDS, Tally, Workplace, campaign  # noqa: E402
from kinds import make_kinds  # noqa: E402
from seeds import make_seeds  # noqa: E402

from ssl_ce.files import write_text  # noqa: E402

_HEADER = (
    "kind", "inputs", "refused (exit 2, one line)", "accepted as valid", "anything else", "slowest (s)",
    "most memory (MiB)",
)  # fmt: skip


def main() -> int:
    """Run the campaign. Returns 1 if an input ended badly."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=6000, help="in all, shared evenly by the kinds")
    parser.add_argument("--out", type=Path, default=_ROOT / "results" / "faults")
    parser.add_argument("--only", default="", metavar="TEXT", help="kinds whose name holds this")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ssl-ce-fuzz-") as folder:
        place = Workplace(Path(folder) / "place")
        seeds = make_seeds(place)
        kinds = [kind for kind in make_kinds(seeds) if options.only in kind.name]
        tallies = []
        for kind in kinds:
            tallies.append(tally := campaign(kind, -(-options.inputs // len(kinds)), place))
            print(*_row(tally), sep="\t", flush=True)
            for case, outcome in tally.faults:
                print(f"    {outcome.fault} :: {' '.join(case.command)[:200]}", flush=True)
    write_text(options.out / "fuzz.csv", _csv(tallies))
    write_text(options.out / "fuzz.md", _markdown(tallies, options.inputs))
    return int(any(tally.faults for tally in tallies))


def _row(tally: Tally) -> tuple[str, ...]:
    counts = (tally.inputs, tally.refused, tally.accepted, len(tally.faults))
    return (tally.kind, *(f"{count:,}" for count in counts), f"{tally.seconds:.1f}", f"{tally.mib:.0f}")


def _total(tallies: Sequence[Tally]) -> Tally:
    return Tally(
        "all",
        *(sum(getattr(tally, name) for tally in tallies) for name in ("inputs", "refused", "accepted")),
        *(max(getattr(tally, name) for tally in tallies) for name in ("seconds", "mib")),
        [fault for tally in tallies for fault in tally.faults],
    )


def _csv(tallies: Sequence[Tally]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADER)
    writer.writerows([field.replace(",", "") for field in _row(tally)] for tally in tallies)
    return text.getvalue()


def _markdown(tallies: Sequence[Tally], inputs: int) -> str:
    rows = [_row(tally) for tally in (*tallies, _total(tallies))]
    return "\n".join(
        [
            "# Malformed inputs",
            "",
            f"    python benchmarks/faults/fuzz.py --inputs {inputs}",
            "",
            f"Each through the command line. An input may take {SECONDS} seconds and {MIB} MiB beside what was in use, "
            "run no program, open no connection and write below the output folder alone. Memory is the growth of the "
            "resident set at its peak. The kinds are described in `tests/faults/`, what was found in "
            "[docs/robustness.md](../../docs/robustness.md#malformed-input).",
            "",
            f"| {' | '.join(_HEADER)} |",
            "|---|" + "---:|" * (len(_HEADER) - 1),
            *(f"| {' | '.join(row)} |" for row in rows),
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
