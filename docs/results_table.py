"""What the committed evaluations say, as text for README.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from calibrate.evaluation.results import Results, read
from calibrate.evaluation.summary import summarise

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"
#: Length of the scenes -> the folder that ``headrouter evaluate`` wrote.
FOLDERS = {"10 s": RESULTS / "scenes-10s", "30 s": RESULTS / "scenes-30s"}
OURS = "adaptive_segments"
_VERDICTS = {"better": "above", "tie": "a tie with", "worse": "BELOW"}
_REVERSED = {"better": "worse", "tie": "tie", "worse": "better"}

Found = dict[str, Any]


def results_section() -> str:
    """Return one table a length of scenes and one of all, and how adaptive segments compare."""
    found = {length: read(folder / "results.json") for length, folder in FOLDERS.items()}
    parts = {f"Scenes of {length}": results.raw for length, results in found.items()}
    parts["All of them: each task at each length counts as a task"] = together(found)
    return "\n\n".join(f"**{title}**\n\n{section(part)}" for title, part in parts.items())


def together(found: dict[str, Results]) -> Found:
    """Summarise several evaluations as one, in which a speaker is one cluster at every length.

    Raises:
        ValueError: they compare different systems, or have different seeds.
    """
    first, *others = found.values()
    if any(
        (o.systems, o.evaluation["seed"]) != (first.systems, first.evaluation["seed"])
        for o in others
    ):
        raise ValueError("the evaluations compare different systems, or draw by different seeds")
    records = [
        {
            **item,
            "task": f"{item['task']} {length}",
            "labels": results.raw["vocabularies"][item["labels"]],
        }
        for length, results in found.items()
        for item in results.items
    ]
    summary = summarise(records, first.systems, first.evaluation["seed"])
    return {"evaluation": first.evaluation, **summary}


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
