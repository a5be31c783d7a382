"""What the committed benchmarks of speed and memory say, as text for docs/results.md."""

from __future__ import annotations

import json
from typing import Any

from docs.results_table import RESULTS

_CUTS = {
    "3B": RESULTS / "prefill_qwen2.5-omni-3b-cut.json",
    "7B": RESULTS / "prefill_qwen2.5-omni-7b-cut.json",
}
_STAND_IN, _FOOTPRINT = RESULTS / "prefill_stand-in.json", RESULTS / "footprint.json"


def costs() -> str:
    """Return memory and selection on the true shapes, and a small stand-in's prefill."""
    cuts = {name: json.loads(path.read_text("utf-8")) for name, path in _CUTS.items()}
    stand_in = json.loads(_STAND_IN.read_text("utf-8"))
    return "\n".join(
        [
            f"- Peak memory on the true shapes of Qwen2.5-Omni 3B and 7B: {_memory()} of the"
            " unpruned model's, over every selector, ratio and length from 30 s to 600 s; counted"
            f" without values ([{_FOOTPRINT.name}](../benchmarks/results/{_FOOTPRINT.name})).",
            "- Probe, routing and selection on the first layers of the true shapes take at most"
            f" {100 * max(map(_selecting, cuts.values())):.2f} % of the whole unpruned prefill"
            f" ({', '.join(_linked(name, cut) for name, cut in cuts.items())}); one round on"
            f" {_machine(cuts['3B'])}. A GPU's share will be larger.",
            "- The prefill of a small stand-in of random weights, times faster than unpruned with"
            f" `headrouter`, median of {stand_in['settings']['repeats']} rounds on"
            f" {_machine(stand_in)} ([{_STAND_IN.name}](../benchmarks/results/{_STAND_IN.name})):",
            "",
            *_speedups(stand_in["lengths"]),
        ]
    )


def _memory() -> str:
    """Return the range of peak memory in parts of the unpruned model's."""
    shapes = json.loads(_FOOTPRINT.read_text("utf-8"))["models"].values()
    parts = [
        pruned / length["unpruned_bytes"]
        for lengths in shapes
        for length in lengths
        for by_ratio in length["pruned_bytes"].values()
        for pruned in by_ratio.values()
    ]
    return f"{min(parts):.2f} to {max(parts):.2f}"


def _selecting(cut: dict[str, Any]) -> float:
    """Return the largest part of the whole unpruned prefill that any selector takes."""
    shares: list[float] = [
        entry["selecting_of_full"]["median"]
        for length in cut["lengths"]
        for entry in length["selectors"]["selectors"].values()
        if "selecting_of_full" in entry
    ]
    return max(shares)


def _linked(name: str, cut: dict[str, Any]) -> str:
    lengths = ", ".join(f"{length['seconds']:g} s" for length in cut["lengths"])
    return f"[{name} at {lengths}](../benchmarks/results/{_CUTS[name].name})"


def _machine(document: dict[str, Any]) -> str:
    environment = document["environment"]
    return f"{environment['threads']} threads of a CPU ({environment['device']})"


def _speedups(lengths: list[dict[str, Any]]) -> list[str]:
    """Return a table: a row a length, a column a ratio."""
    ratios = list(lengths[0]["prefill"]["ratios"])
    rows = [["audio", *(f"r = {ratio}" for ratio in ratios)], ["---"] * (1 + len(ratios))]
    for length in lengths:
        entries = length["prefill"]["ratios"]
        cells = [f"{entries[ratio]['speedup']['median']:.1f}" for ratio in ratios]
        rows.append([f"{length['seconds']:g} s", *cells])
    return [f"| {' | '.join(row)} |" for row in rows]
