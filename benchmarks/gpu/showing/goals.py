"""What is to hold of the figures, and what does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

#: What is to hold of the medians: name -> the largest value.
GOALS = {
    "pruned prefill, of the ideal": 1.05,
    "selecting, of the pruned prefill": 0.005,
    "peak memory, of the unpruned": 1.0,
}


def goals(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Hold what was measured against each goal: the worst value, where, and how many miss."""
    held = []
    for goal, limit in GOALS.items():
        figures = [(value, where) for found, value, where in _figures(lines) if found == goal]
        worst, where = max(figures, default=(None, None))
        missed = sum(value > limit for value, _ in figures)
        held.append(
            {
                "goal": goal,
                "at_most": limit,
                "worst": worst,
                "where": where,
                "of": len(figures),
                "missed": missed,
                "met": bool(figures) and not missed,
            }
        )
    return held


def _figures(lines: Sequence[dict[str, Any]]) -> Iterator[tuple[str, float, str]]:
    """Yield goal, value and place of everything that a goal is about."""
    ideal, selecting, peak = GOALS
    for line in lines:
        kind, result = line["key"]["settings"]["kind"], line["result"]
        if kind == "prefill":
            for ratio, entry in result["ratios"].items():
                where = f"{line['name']}, ratio {ratio}"
                yield ideal, 1 + entry["over_ideal"]["median"], where
                yield selecting, entry["selecting_of_pruned"]["median"], where
                if entry["peak_of_full"] is not None:
                    yield peak, entry["peak_of_full"], where
        elif kind == "selectors":
            for method, entry in result["selectors"].items():
                if entry["peak_of_full"] is not None:
                    yield peak, entry["peak_of_full"], f"{line['name']}, {method}"
