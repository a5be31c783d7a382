"""What each method costs: real, unbatched runs of a few items.

Replies of an evaluation share their work, so their times say little of a method. Here every method
prunes inside the running model, alone, as in use.
"""

from __future__ import annotations

import contextlib
import functools
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from transformers import LogitsProcessor

from calibrate.evaluation.asking.run import Plan
from calibrate.evaluation.asking.trial import recordings
from calibrate.evaluation.scoring.items import Item
from calibrate.evaluation.scoring.systems import VANILLA
from calibrate.models.asking import in_turn, wait_for
from calibrate.models.named import Loaded
from calibrate.models.selecting import build_selector
from calibrate.terminal.progress import Progress
from headrouter_core import prune

SCHEMA = 1
#: Tokens that each run generates: the first ends the prefill, the others are decoding.
TOKENS = 9
#: What is measured of each system, medians over the runs of an item.
COLUMNS = ("prefill_seconds", "decode_seconds_per_token", "peak_bytes")

Way = Callable[[], AbstractContextManager[Any]]


def measure(
    loaded: Loaded, items: Sequence[Item], plan: Plan, progress: Progress
) -> dict[str, Any]:
    """Time every system on every one of ``items``, all of which can be asked.

    Returns:
        JSON-ready. ``systems`` and ``columns`` name the rows and columns of each item's table.
    """
    rows = []
    with progress.stage("Timing", len(items)) as tick:
        for item in items:
            rows.append(_timed(loaded, item, plan))
            tick()
    cuda = loaded.device.type == "cuda"
    return {
        "schema": SCHEMA,
        "device": torch.cuda.get_device_name(loaded.device) if cuda else loaded.device.type,
        "threads": torch.get_num_threads(),
        "tokens": TOKENS,
        "peak_bytes": "largest amount that torch held on the GPU, weights included"
        if cuda
        else f"not measured: torch counts memory on CUDA devices only, and this is {loaded.device}",
        "systems": [list(system) for system in plan.systems],
        "columns": list(COLUMNS),
        "items": rows,
    }


def _timed(loaded: Loaded, item: Item, plan: Plan) -> dict[str, Any]:
    audios = recordings(loaded, item)
    inputs = loaded.place(loaded.frontend.inputs(audios, item.prompt, item.system))
    ways: dict[tuple[str, float], Way] = {VANILLA: contextlib.nullcontext}
    for ratio in plan.ratios:
        for method in plan.methods:
            selector = build_selector(
                method.kind,
                profile=plan.profile,
                seed=plan.seed,
                audios=audios,
                frontend=loaded.frontend,
                **method.options,
            )
            # the profile was held against the model before anything was asked
            ways[method.name, ratio] = functools.partial(
                prune, loaded.model, selector, ratio, plan.layer, force=True
            )
    runs = in_turn([functools.partial(_run, loaded, inputs, way) for way in ways.values()])
    tokens = sum(loaded.frontend.audio_tokens(len(audio)) for audio in audios)
    return {
        "id": item.id,
        "audio_tokens": tokens,
        "runs": len(runs[0]),
        "systems": [_medians(found) for found in runs],
    }


def _medians(found: Sequence[tuple[float, float, int | None]]) -> list[float | int | None]:
    prefill, decode, peaks = zip(*found, strict=True)
    peak = None if peaks[0] is None else round(statistics.median(peaks))
    return [round(statistics.median(prefill), 6), round(statistics.median(decode), 6), peak]


@torch.inference_mode()
def _run(
    loaded: Loaded, inputs: dict[str, torch.Tensor], way: Way
) -> tuple[float, float, int | None]:
    """Return the seconds up to the first token's logits and of each further token, and bytes.

    The first includes the audio encoder; entering and leaving the context is not counted.
    """
    device = loaded.device
    clock = _Clock(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with way():
        wait_for(device)
        begun = time.perf_counter()
        loaded.model.generate(
            **inputs,
            max_new_tokens=TOKENS,
            min_new_tokens=TOKENS,
            do_sample=False,
            num_beams=1,
            logits_processor=[clock],
        )
    first, *_, last = clock.times
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return first - begun, (last - first) / (TOKENS - 1), peak


class _Clock(LogitsProcessor):
    """Notes when the logits of each token are there."""

    def __init__(self, device: torch.device) -> None:
        self.times: list[float] = []
        self._device = device

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Change nothing."""
        wait_for(self._device)
        self.times.append(time.perf_counter())
        return scores
