"""How results are put into words and figures, the same on the terminal and on the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from calibrate.evaluation.comparing.costs import costs_of
from calibrate.evaluation.comparing.results import Results
from calibrate.evaluation.scoring.systems import System

Besides = Callable[[System], list[str]]

#: Verdict on a difference -> its sign.
MARKS = {"better": "+", "worse": "-", "tie": "=", None: "?"}
#: What stands beside scores: title, key of an average, digits, factor.
_BESIDE = (
    ("parsed", "parse_rate", 1, 100),
    ("likeliest", "likeliest_macro_f1", 1, 100),
    ("per token", "likeliest_per_token_macro_f1", 1, 100),
    ("NLL", "nll", 3, 1),
    ("KL", "divergence", 4, 1),
)


def in_families(methods: Sequence[str]) -> list[str]:
    """Return methods in their order, but the variants of one (``name:variant``) behind it."""
    bases = list(dict.fromkeys(name.partition(":")[0] for name in methods))
    return sorted(methods, key=lambda name: bases.index(name.partition(":")[0]))


def percent(value: float | None) -> str:
    """Return a share in percent with one decimal, ``100`` and ``n/a`` without."""
    if value is None:
        return "n/a"
    text = f"{100 * value:.1f}"
    return "100" if text == "100.0" else text


def estimate(found: Mapping[str, float | None]) -> tuple[str, str]:
    """Return a value and its interval, each with one decimal."""
    value, low, high = (found[name] for name in ("value", "low", "high"))
    text = "n/a" if value is None else f"{value:.1f}"
    return text, "" if low is None or high is None else f"[{low:.1f}, {high:.1f}]"


def labels(methods: Sequence[str]) -> dict[str, str]:
    """Names for rows in families: of a variant only what tells it apart."""
    found = {}
    for method in methods:
        base, colon, variant = method.partition(":")
        found[method] = f" :{variant}" if colon and base in methods else method
    return found


def title(found: Results) -> str:
    """What was compared on what, in one line."""
    run, tasks = found.evaluation, found.raw["tasks"]
    return (
        f"{run['model']['id']} on {run['dataset']}: {len(found.items)} items of {len(tasks)} tasks,"
        f" pruned before layer {run['layer']} ({run['device']}, {run['dtype']})"
    )


def metrics(found: Results) -> str:
    """Which metric stands for which tasks."""
    used = {name: found.raw["tasks"][name]["metric"] for name in found.scored_tasks}
    spoken = [name for name, metric in used.items() if metric == "war"]
    war = "WAR (word accuracy, 1 - corpus WER)"
    if not spoken:
        return "macro-F1"
    return war if len(spoken) == len(used) else f"macro-F1, and {war} of {', '.join(spoken)}"


def besides(found: Results, timing: Mapping[str, Any]) -> tuple[list[str], Besides]:
    """Return titles, and of each system cells, of what does not depend on reading answers."""
    costs = costs_of(timing)
    memory = bool(costs) and all(cost.peak_bytes is not None for cost in costs.values())
    titles = [title for title, *_ in _BESIDE]
    titles += ["prefill ms", "token ms"] if costs else []
    titles += ["peak MiB"] if memory else []

    def cells(system: System) -> list[str]:
        row, cost = found.averages[system], costs.get(system)
        texts = [
            "" if row[key] is None else f"{row[key] * factor:.{digits}f}"
            for _, key, digits, factor in _BESIDE
        ]
        if cost is not None:
            texts += [f"{cost.prefill_seconds * 1e3:.1f}", f"{cost.decode_seconds * 1e3:.1f}"]
        if cost is not None and cost.peak_bytes is not None:
            texts.append(f"{cost.peak_bytes / 2**20:.0f}")
        return texts

    return titles, cells


def beside(timing: Mapping[str, Any]) -> str:
    """What the second table shows."""
    text = (
        "Means over tasks. parsed: percent of answers that say one thing; the others count as"
        " wrong. likeliest: macro-F1 of the option with the highest likelihood, and per token of"
        " it, which needs no answer to be read. NLL of the right text, nats per token. KL:"
        " divergence of the next token's distribution from vanilla's, on vanilla's answer, nats."
    )
    if timing.get("items"):
        count = len(timing["items"])
        text += (
            " prefill (with the audio encoder) and each further token: medians over real, unbatched"
            f" runs in turn, means over {count} item{'s' if count > 1 else ''}, on"
            f" {timing['device']}."
        )
        if not timing["items"][0]["systems"][0][2]:
            text += f" Peak memory: {timing['peak_bytes']}."
    return text


def completeness(dataset: Mapping[str, Any]) -> Iterator[str]:
    """What the set lacks, task by task; nothing where it is complete."""
    if dataset["complete"]:
        return
    lacking = []
    for name, task in dataset["tasks"].items():
        faults = f", {task['faults']} faulty" if task["faults"] else ""
        excluded = f", {task['excluded']} excluded by the set's rules" if task["excluded"] else ""
        expected = task["expected"]
        whole = (None, task["items"], task["items"] + task["excluded"])
        if expected not in whole or task["faults"]:
            of = f" of {expected}" if expected is not None else ""
            lacking.append(f"{name} {task['items']}{of}{faults}{excluded}")
    yield f"INCOMPLETE: {dataset['name']} was not asked as a whole: {'; '.join(lacking)}."
