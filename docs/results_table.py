"""What the committed evaluations say, as text for README.md and docs/results.md."""

from __future__ import annotations

import functools
import itertools
import statistics
from collections import Counter
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any

from calibrate.evaluation.comparing.results import Results, read
from calibrate.evaluation.comparing.summary import FRAME, summarise
from calibrate.evaluation.showing.wording import LEVEL

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"
#: Length of the scenes -> the folder that ``headrouter evaluate`` wrote.
FOLDERS = {"10 s": RESULTS / "scenes-10s", "30 s": RESULTS / "scenes-30s"}
OURS = "adaptive_segments"
#: What the README shows, by the names that Python knows them by; the ratio of its first sentence.
SHORT = {"frame": "`Frame`", "headrouter": "`HeadRouter`", OURS: "`AdaptiveSegments`"}
HEADLINE = 0.9
_VERDICTS = {"better": "above", "tie": "a tie with", "worse": "BELOW"}
_REVERSED = {"better": "worse", "tie": "tie", "worse": "better"}

Found = dict[str, Any]


@functools.cache
def evaluations() -> dict[str, Found]:
    """Return what was found at each length of scenes, and under ``all`` at both together."""
    found = {length: read(folder / "results.json") for length, folder in FOLDERS.items()}
    return {**{length: results.raw for length, results in found.items()}, "all": together(found)}


def promise(found: Found) -> str:
    """Return the sentence that the README begins with."""
    ours, frame = (_cell(averages(found)[name, HEADLINE]) for name in (OURS, FRAME))
    return (
        f"**Ask an audio-language model with {_percent(1 - HEADLINE)} of its audio tokens:** on"
        f" the\nembedded test model `AdaptiveSegments` then keeps {ours} % of the unpruned\n"
        f"score, evenly spaced tokens keep {frame} % (nine tasks, 95 % intervals)."
    )


def short_table(found: Found) -> str:
    """Return the table of the README, and with which methods :data:`OURS` ties."""
    ratios, scores = found["evaluation"]["ratios"], averages(found)
    lines = [
        f"| audio tokens removed | {' | '.join(map(_percent, ratios))} |",
        "| --- " * (1 + len(ratios)) + "|",
        f"| unpruned | {' | '.join(['100'] * len(ratios))} |",
    ]
    for method, name in SHORT.items():
        lines.append(f"| {name} | {' | '.join(_cell(scores[method, r]) for r in ratios)} |")
    verdicts = [
        f"{verdict} at {', '.join(map(_percent, alike))}"
        for verdict, alike in itertools.groupby(
            ratios, lambda ratio: "; ".join(_rivals(found, ratio, SHORT, SHORT.__getitem__))
        )
    ]
    return "\n".join([*lines, "", f"`AdaptiveSegments` is {'; '.join(verdicts)}."])


def results_section(found: dict[str, Found]) -> str:
    """Return one table a length of scenes and one of all, and how adaptive segments compare."""
    titles = {length: f"Scenes of {length}" for length in FOLDERS}
    titles["all"] = "All of them: each task at each length counts as a task"
    return "\n\n".join(f"**{titles[key]}**\n\n{section(part)}" for key, part in found.items())


def facts(found: dict[str, Found]) -> str:
    """Return how far answers move, and how often a task tells :data:`OURS` from Frame."""
    nearest = [
        _divergence(found[length], ratio)
        for length in FOLDERS
        for ratio in found[length]["evaluation"]["ratios"]
    ]
    verdicts = Counter(
        row["against_frame"]["verdict"]
        for length in FOLDERS
        for row in found[length]["scores"]
        if row["method"] == OURS
    )
    judged = sum(verdicts[verdict] for verdict in _VERDICTS)
    holding = Counter(
        row["against_frame"]["verdict"]
        for length in FOLDERS
        for row in found[length]["scores"]
        if row["method"] == OURS and (row["against_frame"]["p_holm"] or 0) <= LEVEL
    )
    return "\n".join(
        [
            f"- The next token's distribution under `{OURS}` diverges from the unpruned model's"
            f" {min(nearest):.1f} to {max(nearest):.1f} times less than under the next best method,"
            f" over {len(nearest)} settings of length and ratio (mean over tasks).",
            f"- Of {judged} comparisons of `{OURS}` with `{FRAME}` (task, length, ratio) that get a"
            f" verdict: {verdicts['better']} above, {verdicts['tie']} ties, {verdicts['worse']}"
            " below. With Holm's correction for all such comparisons of a length:"
            f" {holding['better']} above, {holding['worse']} below.",
        ]
    )


def _divergence(found: Found, ratio: float) -> float:
    """Return how many times further the next best method's answers are from the unpruned ones."""
    by_method: dict[str, list[float]] = {}
    for row in found["scores"]:
        if row["ratio"] == ratio:
            by_method.setdefault(row["method"], []).append(row["divergence"])
    means = {method: statistics.mean(values) for method, values in by_method.items()}
    ours = means.pop(OURS)
    return min(means.values()) / ours


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


def averages(found: Found) -> dict[tuple[str, float], Found]:
    """Return the mean score in percent of vanilla's, by method and ratio."""
    return {(row["method"], row["ratio"]): row["percent_of_vanilla"] for row in found["averages"]}


def section(found: Found) -> str:
    """Return the averages of one evaluation and the comparison of :data:`OURS` with the others."""
    ratios, scores = found["evaluation"]["ratios"], averages(found)
    lines = [
        f"| method | {' | '.join(f'r = {ratio:g}' for ratio in ratios)} |",
        "| --- " * (1 + len(ratios)) + "|",
    ]
    for method in found["evaluation"]["methods"]:
        cells = [_cell(scores[method, ratio]) for ratio in ratios]
        lines.append(f"| `{method}` | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"- {line}" for line in comparison(found))])


def comparison(found: Found) -> list[str]:
    """Return a sentence a ratio: whom :data:`OURS` is above, ties with, and is below."""
    lines = []
    for ratio in found["evaluation"]["ratios"]:
        parts = _rivals(found, ratio, found["evaluation"]["methods"], "`{}`".format)
        tasks = [
            row["task"]
            for row in found["scores"]
            if (row["method"], row["ratio"]) == (OURS, ratio)
            and row["against_frame"]["verdict"] == "worse"
        ]
        worse = f"below `frame` on {', '.join(tasks) or 'no task'}"
        lines.append(f"r = {ratio:g}: `{OURS}` is {'; '.join(parts)}; {worse}.")
    return lines


def _rivals(
    found: Found, ratio: float, methods: Container[str], shown: Callable[[str], object]
) -> list[str]:
    """Return whom of ``methods`` :data:`OURS` is above, ties with, and is below."""
    verdicts: dict[str, list[str]] = {name: [] for name in _VERDICTS}
    for pair in found["pairs"]:
        names = [pair["method"], pair["rival"]]
        if pair["ratio"] != ratio or OURS not in names:
            continue
        verdict = pair["verdict"] if names[0] == OURS else _REVERSED[pair["verdict"]]
        names.remove(OURS)
        if names[0] in methods:
            verdicts[verdict].append(str(shown(names[0])))
    return [f"{_VERDICTS[v]} {', '.join(names)}" for v, names in verdicts.items() if names]


def _cell(percent: Found) -> str:
    return f"{percent['value']:.1f} [{percent['low']:.1f}, {percent['high']:.1f}]"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
