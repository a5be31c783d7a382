"""What the committed evaluations say, as text for README.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"
#: Length of the scenes -> the folder that ``headrouter evaluate`` wrote.
FOLDERS = {"10 s": RESULTS / "scenes-10s", "30 s": RESULTS / "scenes-30s"}
OURS = "adaptive_segments"
_VERDICTS = {"better": "above", "tie": "a tie with", "worse": "BELOW"}
_REVERSED = {"better": "worse", "tie": "tie", "worse": "better"}

Found = dict[str, Any]


def results_section() -> str:
    """Return one table a length of scenes, and how adaptive segments compare in it."""
    return "\n\n".join(
        f"**Scenes of {length}**\n\n{section(read(folder))}" for length, folder in FOLDERS.items()
    )


def read(folder: Path) -> Found:
    """Return an evaluation's ``results.json``."""
    found: Found = json.loads((folder / "results.json").read_text("utf-8"))
    return found


def section(found: Found) -> str:
    """Return the averages of one evaluation and the comparison of :data:`OURS` with the others."""
    ratios = found["evaluation"]["ratios"]
    averages = {(row["method"], row["ratio"]): row for row in found["averages"]}
    lines = [
        f"| method | {' | '.join(f'r = {ratio:g}' for ratio in ratios)} |",
        "| --- " * (1 + len(ratios)) + "|",
    ]
    for method in found["evaluation"]["methods"]:
        cells = [_cell(averages[method, ratio]["percent_of_vanilla"]) for ratio in ratios]
        lines.append(f"| `{method}` | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"- {line}" for line in comparison(found))])


def comparison(found: Found) -> list[str]:
    """Return a sentence a ratio: whom :data:`OURS` is above, ties with, and is below."""
    lines = []
    for ratio in found["evaluation"]["ratios"]:
        verdicts: dict[str, list[str]] = {name: [] for name in _VERDICTS}
        for pair in found["pairs"]:
            if pair["ratio"] != ratio or OURS not in (pair["method"], pair["rival"]):
                continue
            first = pair["method"] == OURS
            verdict = pair["verdict"] if first else _REVERSED[pair["verdict"]]
            verdicts[verdict].append(pair["rival"] if first else pair["method"])
        parts = [
            f"{_VERDICTS[verdict]} {', '.join(f'`{name}`' for name in names)}"
            for verdict, names in verdicts.items()
            if names
        ]
        tasks = [
            row["task"]
            for row in found["scores"]
            if (row["method"], row["ratio"]) == (OURS, ratio)
            and row["against_frame"]["verdict"] == "worse"
        ]
        worse = f"below `frame` on {', '.join(tasks)}" if tasks else "below `frame` on no task"
        lines.append(f"r = {ratio:g}: `{OURS}` is {'; '.join(parts)}; {worse}.")
    return lines


def _cell(percent: Found) -> str:
    return f"{percent['value']:.1f} [{percent['low']:.1f}, {percent['high']:.1f}]"
