"""What a profile's report on held-out samples says, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrouter_core.profile.recipe import Recipe

#: The report's methods, in the order in which they are shown.
METHODS = ("headrouter", "uniform weights", "frame", "adaptive segments")


def verdicts(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(verdict, plain sentence) for each ratio and rival; the verdict is better, worse or tie."""
    words = {
        "better": "better than",
        "worse": "WORSE than",
        "tie": "no better than (a tie with)",
        "withheld": "no verdict (too few speakers or clips carry it) against",
    }
    return [
        (
            found["verdict"],
            f"At ratio {ratio}, {found['method']}: {words[found['verdict']]} {found['rival']}, NLL "
            f"{found['difference']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}] nats/token.",
        )
        for ratio, entry in results["ratios"].items()
        for found in entry["comparisons"]
    ]


def bases(results: Mapping[str, Any]) -> list[str | None]:
    """What each of :func:`verdicts` rests on, where the report says it."""
    entries = results["ratios"].values()
    return [carried(found) for entry in entries for found in entry["comparisons"]]


def carried(compared: Mapping[str, Any]) -> str | None:
    """Say what a difference rests on: speakers or clips, the task, few items, exact answers."""
    items = compared.get("items")
    if not items or items.get("task") is None:
        return None
    answers = compared["answers"]
    return (
        f"{compared['carried_by']} speakers or clips carry it; {items['task']}"
        f" {items['task_share']:.0%} of it, its 5 largest items {items['largest']:.0%};"
        f" {items['better']} better, {items['worse']} worse; exact answers +{answers['won']}"
        f" -{answers['lost']} (p {answers['p']:.2f})" + _second(compared) + _holm(compared)
    )


def _holm(compared: Mapping[str, Any]) -> str:
    if "p_holm" not in compared:
        return ""
    return f"; p {compared['p']:.3f}, of all at once (Holm) {compared['p_holm']:.3f}"


def _second(compared: Mapping[str, Any]) -> str:
    if "divergence" not in compared:
        return ""
    return "; JS divergence {difference:+.4f} [{low:+.4f}, {high:+.4f}]".format(
        **compared["divergence"]
    )


def strength(recipe: Recipe) -> str:
    """How far head weights follow the ablation, in words."""
    units = {"nat": "nat", "head_deviation": "deviation between heads"}
    unit = units[recipe.weights_unit]
    return f"{recipe.weights_rule}, strength {recipe.weights_strength:g} per {unit}"
