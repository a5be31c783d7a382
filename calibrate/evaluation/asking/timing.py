"""What each method costs: real, unbatched runs of a few items.

Replies of an evaluation share their work, so their times say little of a method. Here every method
prunes inside the running model, alone, as in use; what comes before the model is timed too.
"""

from __future__ import annotations

import contextlib
import functools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn
from transformers import LogitsProcessor

from calibrate.evaluation.asking.methods import Method
from calibrate.evaluation.asking.run import Plan
from calibrate.evaluation.asking.shorter import Shortening
from calibrate.evaluation.asking.trial import recordings
from calibrate.evaluation.scoring.items import Item
from calibrate.evaluation.scoring.systems import VANILLA, System
from calibrate.models.asking import in_turn, wait_for
from calibrate.models.named import Loaded
from calibrate.models.selecting import build_selector
from calibrate.terminal.progress import Progress
from headrouter_core import families, prune
from headrouter_core.scoring import keep_count

SCHEMA = 1
#: Tokens that each run generates: the first ends the prefill, the others are decoding.
TOKENS = 9
#: What is measured of each system, medians over the runs of an item.
#: ``prepare_seconds``: from the recording to the model's inputs, features and any shortening;
#: ``encoder_seconds``: of the prefill, up to the first decoder layer.
COLUMNS = (
    *("prepare_seconds", "encoder_seconds", "prefill_seconds", "decode_seconds_per_token"),
    "peak_bytes",
)

Way = Callable[[], AbstractContextManager[Any]]
Measured = tuple[float, float, float, float, int | None]
Prepare = Callable[[], dict[str, torch.Tensor]]


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
    tokens = sum(loaded.frontend.audio_tokens(len(audio)) for audio in audios)

    def prepare(shortening: Shortening | None, keep: int) -> dict[str, torch.Tensor]:
        heard = audios if shortening is None else shortening(audios, loaded.frontend, keep)
        return loaded.place(loaded.frontend.inputs(heard, item.prompt, item.system))

    def pruning(method: Method, keep: int) -> AbstractContextManager[Any]:
        if not method.prunes:
            return contextlib.nullcontext()
        selector = build_selector(
            method.kind,
            profile=plan.profile,
            seed=plan.seed,
            audios=audios,
            frontend=loaded.frontend,
            **method.options,
        )
        # the profile was held against the model before anything was asked
        return prune(loaded.model, selector, keep=keep, layer=plan.layer, force=True)

    ways: dict[System, tuple[Prepare, Way]] = {
        VANILLA: (functools.partial(prepare, None, tokens), contextlib.nullcontext)
    }
    for ratio in plan.ratios:
        keep = keep_count(tokens, ratio)
        for method in plan.methods:
            ways[method.name, ratio] = (
                functools.partial(prepare, method.shortening, keep),
                functools.partial(pruning, method, keep),
            )
    runs = in_turn([functools.partial(_run, loaded, *way) for way in ways.values()])
    return {
        "id": item.id,
        "audio_tokens": tokens,
        "runs": len(runs[0]),
        "systems": [_medians(found) for found in runs],
    }


def _medians(found: Sequence[Measured]) -> list[float | int | None]:
    *seconds, peaks = zip(*found, strict=True)
    peak = None if peaks[0] is None else round(statistics.median(peaks))
    return [*(round(statistics.median(values), 6) for values in seconds), peak]


@torch.inference_mode()
def _run(loaded: Loaded, prepare: Prepare, way: Way) -> Measured:
    """Return what :data:`COLUMNS` names; entering and leaving the context is not counted."""
    device = loaded.device
    clock = _Clock(device)
    started = time.perf_counter()
    inputs = prepare()
    wait_for(device)
    prepared = time.perf_counter() - started
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    first_layer = families.locate(loaded.model).layers[0]
    pruning = way()
    with pruning, clock.arrivals(first_layer):
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
    encoded = clock.entered[0] - begun
    return prepared, encoded, first - begun, (last - first) / (TOKENS - 1), peak


class _Clock(LogitsProcessor):
    """Notes when the logits of each token are there."""

    def __init__(self, device: torch.device) -> None:
        self.times: list[float] = []
        self.entered: list[float] = []
        """When the decoder's first layer was entered."""
        self._device = device

    @contextlib.contextmanager
    def arrivals(self, layer: nn.Module) -> Iterator[None]:
        """Note when a layer is entered."""

        def note(*_: Any) -> None:
            wait_for(self._device)
            self.entered.append(time.perf_counter())

        hook = layer.register_forward_pre_hook(note)
        try:
            yield
        finally:
            hook.remove()

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Change nothing."""
        wait_for(self._device)
        self.times.append(time.perf_counter())
        return scores
