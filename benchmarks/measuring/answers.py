"""What answers cost, pruned and not: decoding, and all from samples to tokens."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from benchmarks.measuring.bench import Bench, Pruning
from benchmarks.measuring.clock import Measure, interleaved, ratios, summary
from benchmarks.subjects import prompts
from benchmarks.subjects.prompts import Prompt


def measure_decode(bench: Bench, prompt: Prompt, pruning_ratios: list[float]) -> dict[str, Any]:
    """Time to the first token's logits and tokens a second behind it, in ``generate``."""
    runs: dict[str, Measure] = {"unpruned": partial(bench.generate, prompt.inputs)}
    for ratio in pruning_ratios:
        runs[str(ratio)] = partial(bench.generate, prompt.inputs, bench.headrouter(ratio))
    taken = interleaved(runs, bench.repeats)
    whole = taken["unpruned"]["tokens_per_second"]
    return {
        name: {
            "first": summary(values["first"]),
            "step": summary(values["step"]),
            "tokens_per_second": summary(values["tokens_per_second"]),
            "of_unpruned": summary(ratios(values["tokens_per_second"], whole)),
        }
        for name, values in taken.items()
    }


def measure_end_to_end(bench: Bench, seconds: float, pruning_ratios: list[float]) -> dict[str, Any]:
    """From samples to an answer: inputs, encoder, prefill, tokens."""
    front_end = prompts.FrontEnd(bench.shape, bench.seed)
    recording = prompts.recording(seconds, bench.seed)

    def whole(pruning: Pruning | None) -> dict[str, float]:
        started = bench.clock.now()
        inputs = front_end.inputs(recording, bench.device)
        made = bench.clock.now() - started
        answered = bench.generate(inputs, pruning)["seconds"]
        return {"inputs": made, "total": made + answered}

    inputs = front_end.inputs(recording, bench.device)
    features = {key: inputs[key] for key in ("input_features", "feature_attention_mask")}

    @torch.no_grad()
    def encode() -> dict[str, float]:
        return {"seconds": bench.clock.seconds(lambda: bench.model.get_audio_features(**features))}

    runs: dict[str, Measure] = {"encoder": encode, "unpruned": partial(whole, None)}
    for ratio in pruning_ratios:
        runs[str(ratio)] = partial(whole, bench.headrouter(ratio))
    taken = interleaved(runs, bench.repeats)
    unpruned = taken["unpruned"]
    return {
        "inputs": {"seconds": summary(unpruned["inputs"])},
        "encoder": {"seconds": summary(taken["encoder"]["seconds"])},
        "unpruned": {"seconds": summary(unpruned["total"])},
        "ratios": {
            str(ratio): {
                "seconds": summary(taken[str(ratio)]["total"]),
                "speedup": summary(ratios(unpruned["total"], taken[str(ratio)]["total"])),
            }
            for ratio in pruning_ratios
        },
    }
