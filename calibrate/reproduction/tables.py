"""The paper's tables: its tasks, its averages, and its numbers under ours."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from calibrate.evaluation.comparing.results import Results
from calibrate.evaluation.scoring.systems import VANILLA, System
from calibrate.reproduction.published import METHODS, Layout, Published

AVERAGE = "average"


@dataclass(frozen=True)
class Line:
    """One method at one number of kept tokens."""

    method: str
    """The paper's name of it; ours where the paper has none."""
    kept: int
    """Percent of the audio tokens."""
    ours: dict[str, float]
    """Heading or ``average`` -> number x 100; headings whose task is missing are not there."""
    paper: dict[str, float]
    """The same as printed; empty where nothing is."""


@dataclass(frozen=True)
class Table:
    """A set."""

    layout: Layout
    lines: tuple[Line, ...]
    missing: tuple[str, ...]
    """Tasks of the paper that were not asked."""
    incomplete: tuple[str, ...]
    """Tasks with fewer items than the set has."""

    @property
    def headings(self) -> list[str]:
        """In the paper's order, the average last."""
        return [*self.layout.columns.values(), AVERAGE]


def table(found: Results, layout: Layout, paper: Published) -> Table:
    """Lay out the results of a set as the paper does.

    The average is in percent of vanilla's: of the mean over tasks, or of the share of all items
    that are right (``layout.weighted``). Tasks that the paper leaves out do not count.

    Args:
        found: an evaluation of the set.
        layout: the set's.
        paper: what is printed.
    """
    tasks = [task for task in layout.columns if (task, VANILLA) in found.scores]
    counts = found.raw["dataset"]["tasks"]
    lines = []
    for system in _ordered(found.systems):
        method, ratio = system
        kept = round(100 * (1 - ratio))
        ours = {layout.columns[task]: 100 * _number(found, layout, task, system) for task in tasks}
        whole = _mean(found, layout, tasks, VANILLA) if tasks else 0.0
        if whole > 0:
            ours[AVERAGE] = 100 * _mean(found, layout, tasks, system) / whole
        printed = paper.scores[layout.key].get((method, kept), {})
        lines.append(Line(METHODS.get(method, method), kept, ours, printed))
    return Table(
        layout,
        tuple(lines),
        tuple(layout.columns[task] for task in layout.columns if task not in tasks),
        tuple(
            layout.columns[task]
            for task in tasks
            if counts[task]["faults"] or counts[task]["expected"] not in _had(counts[task])
        ),
    )


def _had(counts: dict[str, Any]) -> tuple[int | None, ...]:
    """Numbers of items that make a task whole."""
    return None, counts["items"], counts["items"] + counts["excluded"]


def _ordered(systems: Sequence[System]) -> list[System]:
    """Vanilla, then by ratio; in each the paper's methods in its order, then ours."""
    names = list(METHODS)
    return sorted(
        systems,
        key=lambda system: (
            system[1],
            names.index(system[0]) if system[0] in names else len(names),
        ),
    )


def _number(found: Results, layout: Layout, task: str, system: System) -> float:
    row = found.scores[task, system]
    number: float = row["score"]["value"] if layout.metric == "score" else row[layout.metric]
    return number


def _mean(found: Results, layout: Layout, tasks: Sequence[str], system: System) -> float:
    sizes = [found.raw["tasks"][task]["items"] if layout.weighted else 1 for task in tasks]
    numbers = [_number(found, layout, task, system) for task in tasks]
    return sum(n * size for n, size in zip(numbers, sizes, strict=True)) / sum(sizes)


def as_dict(shown: Table, paper: Published) -> dict[str, Any]:
    """JSON-ready."""
    return {
        "set": shown.layout.key,
        "title": shown.layout.title,
        "paper": {"model": paper.model, "same_model": paper.same},
        "missing": list(shown.missing),
        "incomplete": list(shown.incomplete),
        "lines": [
            {
                "method": line.method,
                "kept_percent": line.kept,
                "ours": {name: round(value, 2) for name, value in line.ours.items()},
                "paper": line.paper,
            }
            for line in shown.lines
        ],
    }


def text(shown: Table, paper: Published) -> str:
    """Return the table in at most 80 columns, the paper's line under ours."""
    headings = shown.headings
    width = 5
    left = max(len(line.method) for line in shown.lines) + 2
    short = [heading[:width] for heading in headings]
    lines = [shown.layout.title, " " * left + "".join(f"{name:>{width + 1}}" for name in short)]
    kept = None
    for line in shown.lines:
        if line.kept != kept:
            kept = line.kept
            lines.append(f"{kept} % kept")
        lines.append(f"{line.method:<{left}}" + _cells(headings, line.ours, width))
        if line.paper:
            lines.append(f"{'  paper':<{left}}" + _cells(headings, line.paper, width))
    whose = paper.model if paper.same else f"{paper.model}, another model"
    notes = [
        f"paper: arXiv 2604.23717v1, {whose}; average: percent of Vanilla's. {shown.layout.note}"
    ]
    if shown.missing:
        notes.append(f"missing: {', '.join(shown.missing)}")
    if shown.incomplete:
        notes.append(f"fewer items than the set has: {', '.join(shown.incomplete)}")
    lines += [line for note in notes for line in textwrap.wrap(note, 80, break_on_hyphens=False)]
    return "\n".join(text.rstrip() for text in lines)


def _cells(headings: Sequence[str], numbers: dict[str, float], width: int) -> str:
    return "".join(
        f"{numbers[name]:>{width + 1}.1f}" if name in numbers else f"{'-':>{width + 1}}"
        for name in headings
    )
