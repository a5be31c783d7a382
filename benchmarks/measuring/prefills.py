"""What a prefill costs, pruned and not: one function a section of the JSON."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import torch

from benchmarks.measuring.bench import Bench, Pruning, takes_logits_to_keep
from benchmarks.measuring.clock import Measure, interleaved, ratios, summary
from benchmarks.measuring.memory import peak_bytes
from benchmarks.subjects.prompts import Prompt
from headrouter_core import prune
from headrouter_core.scoring import keep_count

#: Where only one ratio is measured.
RATIO = 0.6


def measure_prefill(bench: Bench, prompt: Prompt, pruning_ratios: list[float]) -> dict[str, Any]:
    """Prefill in full, pruned by HeadRouter, and the ideal: a pruning that costs nothing.

    Only the last column's logits are made, so that nothing but layers is compared (and the final
    norm, which is short in a pruned run).
    """
    full = partial(bench.prefill, prompt)
    runs: dict[str, Measure] = {"full": full}
    for ratio in pruning_ratios:
        kept = keep_count(prompt.audio_tokens, ratio)
        runs[f"ideal {ratio}"] = partial(bench.ideal, prompt, kept)
        runs[f"pruned {ratio}"] = partial(bench.prefill, prompt, bench.headrouter(ratio))
    taken = interleaved(runs, bench.repeats)
    whole, whole_peak = taken["full"]["seconds"], peak_bytes(bench.device, full)
    entry: dict[str, Any] = {
        "full": {"seconds": summary(whole), "peak_bytes": whole_peak},
        "ratios": {},
    }
    for ratio in pruning_ratios:
        ideal = taken[f"ideal {ratio}"]["seconds"]
        pruned, selecting = (taken[f"pruned {ratio}"][key] for key in ("seconds", "selecting"))
        peak = peak_bytes(bench.device, runs[f"pruned {ratio}"])
        entry["ratios"][str(ratio)] = {
            "kept": keep_count(prompt.audio_tokens, ratio),
            "pruned": {"seconds": summary(pruned), "peak_bytes": peak},
            "ideal": {"seconds": summary(ideal)},
            "speedup": summary(ratios(whole, pruned)),
            "ideal_speedup": summary(ratios(whole, ideal)),
            "over_ideal": summary([times - 1 for times in ratios(pruned, ideal)]),
            "selecting": summary(selecting),
            "selecting_of_pruned": summary(ratios(selecting, pruned)),
            "selecting_of_full": summary(_of_all_layers(bench, ratios(selecting, whole))),
            "peak_of_full": _share(peak, whole_peak),
        }
    return entry


def measure_selectors(bench: Bench, prompt: Prompt) -> dict[str, Any]:
    """Every selector's prefill at one ratio: seconds, those of selecting, and peak memory."""
    full = partial(bench.prefill, prompt)
    selectors = bench.selectors(prompt.audio_tokens)
    runs: dict[str, Measure] = {
        name: partial(bench.prefill, prompt, Pruning(selector, RATIO))
        for name, selector in selectors.items()
    }
    taken = interleaved({"full": full, **runs}, bench.repeats)
    whole, whole_peak = taken["full"]["seconds"], peak_bytes(bench.device, full)
    entry: dict[str, Any] = {
        "ratio": RATIO,
        "full": {"seconds": summary(whole), "peak_bytes": whole_peak},
        "selectors": {},
    }
    for name, run in runs.items():
        seconds, selecting = taken[name]["seconds"], taken[name]["selecting"]
        peak = peak_bytes(bench.device, run)
        entry["selectors"][name] = {
            "seconds": summary(seconds),
            "speedup": summary(ratios(whole, seconds)),
            "selecting": summary(selecting),
            "selecting_of_pruned": summary(ratios(selecting, seconds)),
            "selecting_of_full": summary(_of_all_layers(bench, ratios(selecting, whole))),
            "peak_bytes": peak,
            "peak_of_full": _share(peak, whole_peak),
        }
    return entry


def measure_logits(bench: Bench, prompt: Prompt) -> dict[str, Any]:
    """What logits of all columns cost, which a prefill makes for no one, and who makes them.

    ``forward`` is the model called as it is, ``last`` the same told to make the last column's only,
    ``generate`` the model's own ``generate`` up to the first token.
    """
    dtype = getattr(torch, bench.shape.dtype)
    row = bench.shape.text["vocab_size"] * dtype.itemsize
    kept = keep_count(prompt.audio_tokens, RATIO)
    entry: dict[str, Any] = {
        "ratio": RATIO,
        "logits_to_keep": takes_logits_to_keep(bench.model),
        "bytes": {
            "unpruned": prompt.length * row,
            "pruned": (prompt.length - prompt.audio_tokens + kept) * row,
        },
    }
    runs: dict[str, Measure] = {}
    for name, pruning in (("unpruned", None), ("pruned", bench.headrouter(RATIO))):
        runs[f"{name} forward"] = partial(bench.prefill, prompt, pruning, all_logits=True)
        runs[f"{name} last"] = partial(bench.prefill, prompt, pruning)
        runs[f"{name} generate"] = partial(bench.generate, prompt.inputs, pruning, tokens=1)
    taken = interleaved(runs, bench.repeats)
    for name, run in runs.items():
        group, _, way = name.partition(" ")
        entry.setdefault(group, {})[way] = {
            "seconds": summary(taken[name]["seconds"]),
            "peak_bytes": peak_bytes(bench.device, run),
        }
    return entry


def measure_context(bench: Bench) -> dict[str, Any]:
    """Opening and closing a pruning context, which holds the profile against the weights."""
    pruning = bench.headrouter(0)

    def empty() -> dict[str, float]:
        return {"seconds": bench.clock.seconds(lambda: _open(bench, pruning))}

    return {
        "seconds": summary(interleaved({"context": empty}, bench.repeats)["context"]["seconds"])
    }


def _open(bench: Bench, pruning: Pruning) -> None:
    # nothing runs inside, and the context says that it saw no audio
    ignored = warnings.catch_warnings(action="ignore")
    with ignored, prune(bench.model, pruning.selector, pruning.ratio, bench.layer):
        pass


def _of_all_layers(bench: Bench, shares: list[float]) -> list[float]:
    """Turn shares of these layers' prefill into shares of the one of all the model's layers."""
    return [share * bench.shape.share for share in shares]


def _share(part: int | None, whole: int | None) -> float | None:
    return None if part is None or whole is None else part / whole
