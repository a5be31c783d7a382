"""The results section of a profile: the report on samples that took no part in any choice.

A profile made by hand has none. Where there are results, everything that commands and cards read is
here; what else stands beside it is welcome. Everything here raises :class:`ProfileError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrouter_core.profile.checks import (
    check_keys,
    check_number,
    check_numbers,
    entries,
    is_name,
    is_whole,
    require,
)
from headrouter_core.routing import GROUPS, ROUTES, VECTORS

#: ``withheld``: an interval without 0 that too few speakers or clips carry.
VERDICTS = ("better", "worse", "tie", "withheld")

#: Losses of the routing's report: one vector always, the true group's, and the paper's mixing.
ROUTED = ("pooled", "oracle", "mixture", "uniform")


def check_results(results: Mapping[str, Any]) -> None:
    """Raise unless the results are empty, or a whole report."""
    if not results:
        return
    check_keys("results", results, ("samples", "unpruned", "ratios"), more=True)
    require(is_whole(results["samples"], 1), "results.samples", results["samples"], "a count")
    if "clusters" in results:
        require(
            is_whole(results["clusters"], 1), "results.clusters", results["clusters"], "a count"
        )
    check_numbers("results.unpruned", results["unpruned"], ("nll", "accuracy"))
    ratios = results["ratios"]
    require(isinstance(ratios, dict) and ratios != {}, "results.ratios", ratios, "by pruning ratio")
    methods = _methods(ratios)
    for name, entry in entries("results.ratios", ratios):
        check_keys(name, entry, ("nll", "accuracy", "comparisons"), more=True)
        for score in ("nll", "accuracy"):
            check_keys(f"{name}.{score}", entry[score], methods)
            check_numbers(f"{name}.{score}", entry[score], methods)
        if "rise" in entry:
            check_numbers(f"{name}.rise", entry["rise"], ("difference", "low", "high"))
        _check_comparisons(f"{name}.comparisons", entry["comparisons"])
    if "routing" in results:
        _check_routing(results["routing"])
    _check_lengths(results.get("by_length", []))
    if "stability" in results:
        _check_stability(results["stability"])


def _methods(ratios: Mapping[str, Any]) -> list[str]:
    """Return the methods of the first ratio, which those of all others have to be."""
    ratio, entry = next(iter(ratios.items()))
    check_keys(f"results.ratios.{ratio}", entry, ("nll",), more=True)
    methods = entry["nll"]
    named = isinstance(methods, dict) and methods != {} and all(map(is_name, methods))
    require(named, f"results.ratios.{ratio}.nll", methods, "by method")
    return list(methods)


def _check_routing(routing: Mapping[str, Any]) -> None:
    """What routing is worth."""
    name = "results.routing"
    check_numbers(name, routing, (*ROUTED, "auc"))
    _check_comparisons(f"{name}.comparisons", routing.get("comparisons", []))
    for loss in (*VECTORS, "selectivity", "auc_selectivity"):
        if loss in routing:
            check_number(f"{name}.{loss}", routing[loss])
    if "route" in routing:
        route = routing["route"]
        require(route in ROUTES, f"{name}.route", route, f"one of {', '.join(ROUTES)}")
    check_keys(f"{name}.unseen_task", routing.get("unseen_task", {}), (), more=True)
    for where, share in entries(f"{name}.unseen_task", routing.get("unseen_task", {})):
        if share is not None:
            check_number(where, share)
    if "bandwidth" in routing:
        check_numbers(f"{name}.bandwidth", routing["bandwidth"], ("factor",))


def _check_basis(name: str, found: Mapping[str, Any]) -> None:
    """What a comparison rests on, where it says so."""
    if "p_holm" in found:
        check_numbers(name, found, ("p", "p_holm"))
    if "items" in found:
        check_numbers(name, found, ("carried_by",))
        numbers = ("better", "worse", "largest", "task_share")
        check_numbers(f"{name}.items", found["items"], numbers)
        check_keys(f"{name}.items", found["items"], ("task",), more=True)
        task = found["items"]["task"]
        require(task is None or is_name(task), f"{name}.items.task", task, "a task or null")
        check_keys(name, found, ("answers",), more=True)
    if "answers" in found:
        check_numbers(f"{name}.answers", found["answers"], ("won", "lost", "p"))
    if "divergence" in found:
        check_numbers(f"{name}.divergence", found["divergence"], ("difference", "low", "high"))


def _check_comparisons(name: str, comparisons: object) -> None:
    require(isinstance(comparisons, list), name, comparisons, "a list")
    for where, found in entries(name, comparisons):
        check_numbers(where, found, ("difference", "low", "high"))
        check_keys(where, found, ("method", "rival", "verdict"), more=True)
        for key in ("method", "rival"):
            require(is_name(found[key]), f"{where}.{key}", found[key], "a method")
        verdict = found["verdict"]
        require(verdict in VERDICTS, f"{where}.verdict", verdict, f"one of {', '.join(VERDICTS)}")
        _check_basis(where, found)


def _check_lengths(rows: object) -> None:
    """How spread and mixing move with the length of the audio."""
    require(isinstance(rows, list), "results.by_length", rows, "a list")
    for where, row in entries("results.by_length", rows):
        check_keys(where, row, ("audio_tokens", "samples"), more=True)
        check_number(f"{where}.samples", row["samples"])
        check_pair(f"{where}.audio_tokens", row["audio_tokens"])
        for group in (GROUPS[0], GROUPS[2]):
            if group in row:
                check_numbers(f"{where}.{group}", row[group], ("spread",))
                check_keys(f"{where}.{group}", row[group], ("mixing",), more=True)
                check_numbers(f"{where}.{group}.mixing", row[group]["mixing"], GROUPS)


def _check_stability(stability: object) -> None:
    """How far smaller fits with other seeds are from a larger one."""
    name = "results.stability"
    check_keys(name, stability, ("change", "per_category"), more=True)
    assert isinstance(stability, dict)
    check_numbers(f"{name}.per_category", stability["per_category"], ("small", "large"))
    fits = {"large": stability.get("large", {}), "small": stability.get("small", {})}
    check_keys(f"{name}.small", fits["small"], (), more=True)
    for where, fit in [(f"{name}.large", fits["large"]), *entries(f"{name}.small", fits["small"])]:
        check_keys(where, fit, (), more=True)
        check_keys(f"{where}.choices", fit.get("choices", {}), (), more=True)
    check_keys(f"{name}.change", stability["change"], (), more=True)
    for where, change in entries(f"{name}.change", stability["change"]):
        check_numbers(where, change, ("bandwidth",))
        check_keys(where, change, ("centers", "weights"), more=True)
        check_numbers(f"{where}.centers", change["centers"], GROUPS)
        check_numbers(f"{where}.weights", change["weights"], (GROUPS[0], GROUPS[2]))


def check_pair(name: str, value: object) -> None:
    """Raise unless ``value`` is two numbers, such as the ends of an interval."""
    two = isinstance(value, list) and len(value) == 2
    require(two, name, value, "two numbers")
    for where, number in entries(name, value):
        check_number(where, number)
