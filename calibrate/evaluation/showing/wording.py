"""How results are put into words and figures, the same on the terminal and on the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from calibrate.evaluation.comparing.costs import costs_of
from calibrate.evaluation.comparing.results import Results
from calibrate.evaluation.scoring.systems import System

Besides = Callable[[System], list[str]]

#: Verdict on a difference -> its sign.
MARKS = {"better": "+", "worse": "-", "tie": "=", None: "?"}
#: How likely a correction lets a verdict of a family be wrong.
LEVEL = 0.05
#: What stands beside scores: title, key of an average, digits, factor.
_BESIDE = (
    ("parsed", "parse_rate", 1, 100),
    ("likeliest", "likeliest_macro_f1", 1, 100),
    ("per token", "likeliest_per_token_macro_f1", 1, 100),
    ("NLL", "nll", 3, 1),
    ("KL", "divergence", 4, 1),
)
#: The same of what systems heard, and of what that cost.
_HEARD = (("input s", "heard_seconds", 1, 1), ("kept", "heard_kept", 0, 1))
_COSTS = (
    ("prepare ms", "prepare_seconds", 1, 1e3),
    ("encoder ms", "encoder_seconds", 1, 1e3),
    ("prefill ms", "prefill_seconds", 1, 1e3),
    ("token ms", "decode_seconds_per_token", 1, 1e3),
    ("peak MiB", "peak_bytes", 0, 2**-20),
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


def besides(found: Results) -> tuple[list[str], Besides]:
    """Return titles, and of each system cells, of what does not depend on reading answers."""

    def cells(system: System) -> list[str]:
        row = found.averages[system]
        return [_cell(row[key], digits, factor) for _, key, digits, factor in _BESIDE]

    return [title for title, *_ in _BESIDE], cells


def costs(found: Results, timing: Mapping[str, Any]) -> tuple[list[str], Besides]:
    """Return titles, and of each system cells, of what it heard, and what was measured of that."""
    measured = costs_of(timing)
    shown = [
        column
        for column in _COSTS
        if measured and all(getattr(cost, column[1]) is not None for cost in measured.values())
    ]

    def cells(system: System) -> list[str]:
        row, cost = found.averages[system], measured.get(system)
        return [_cell(row[key], digits, factor) for _, key, digits, factor in _HEARD] + [
            _cell(getattr(cost, key), digits, factor) for _, key, digits, factor in shown
        ]

    return [title for title, *_ in (*_HEARD, *shown)], cells


def _cell(value: float | None, digits: int, factor: float) -> str:
    return "" if value is None else f"{value * factor:.{digits}f}"


def corrections(found: Results) -> str:
    """How many verdicts hold where all of a family are looked at at once."""
    families = {
        "of averages against vanilla": (found.raw["averages"], "against_vanilla"),
        "of averages against frame": (found.raw["averages"], "against_frame"),
        "of tasks against vanilla": (found.raw["scores"], "against_vanilla"),
        "of tasks against frame": (found.raw["scores"], "against_frame"),
    }
    told = []
    for name, (rows, rival) in families.items():
        certain = [
            row[rival]
            for row in rows
            if rival in row and row[rival]["verdict"] in ("better", "worse")
        ]
        if certain:
            holding = sum(row["p_holm"] <= LEVEL for row in certain)
            told.append(f"{name} {holding} of {len(certain)}")
    if not told:
        return "No difference is certain."
    return (
        "Among so many verdicts some are certain by chance. With Holm's correction for each family"
        f" there hold, {', '.join(told)} (p_holm in results.json)."
    )


def beside() -> str:
    """What the second table shows."""
    return (
        "Means over tasks. parsed: percent of answers that say one thing; the others count as"
        " wrong. likeliest: macro-F1 of the option with the highest likelihood, and per token of"
        " it, which needs no answer to be read. NLL of the right text, nats per token. KL:"
        " divergence of the next token's distribution from vanilla's, on vanilla's answer, nats."
    )


def cost(timing: Mapping[str, Any]) -> str:
    """What the third table shows."""
    text = (
        "Means over tasks. input: seconds of audio that the encoder hears. kept: audio tokens that"
        " the layers behind the pruning layer see."
    )
    if timing.get("items"):
        count = len(timing["items"])
        text += (
            " prepare: from the recording to the model's inputs (stretching, features); encoder: of"
            " the prefill, up to the first decoder layer; prefill, and each further token: medians"
            " over real, unbatched runs in turn, means over"
            f" {count} item{'s' if count > 1 else ''}, on {timing['device']}."
        )
        if None in timing["items"][0]["systems"][0]:
            text += f" Peak memory: {timing['peak_bytes']}."
    return text


def left_out(found: Results) -> Iterator[str]:
    """What a rule left out, and what was asked although the profile knew it."""
    reasons = Counter(fault["reason"] for fault in found.raw["dataset"]["excluded"])
    for reason, count in reasons.items():
        yield f"Left out: {count} item{'s' if count > 1 else ''}: {reason}."
    seen = sum(task["seen"] for task in found.raw["tasks"].values())
    if seen:
        yield (
            f"SEEN: the profile was calibrated on {seen} of the items, marked in results.json;"
            " scores of methods with a profile are too good by that."
        )


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
