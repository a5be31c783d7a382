"""Asking a loaded model: greedy answers, and how long the prefill takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch

from calibrate.models import Loaded

#: Most timed runs of each prefill, and seconds after which no further one is begun.
RUNS, BUDGET = 5, 10.0


@dataclass(frozen=True)
class Answer:
    """What a model says."""

    text: str
    complete: bool
    """Whether it ended by itself, not at the limit of new tokens."""


@torch.inference_mode()
def answer(loaded: Loaded, inputs: dict[str, torch.Tensor], max_new_tokens: int) -> Answer:
    """Return the greedy answer to one conversation (inputs with one row, placed)."""
    output = loaded.model.generate(
        **inputs, max_new_tokens=max_new_tokens, do_sample=False, num_beams=1
    )
    new = output[0, inputs["input_ids"].shape[1] :]
    ends = loaded.model.generation_config.eos_token_id
    complete = new[-1].item() in (ends if isinstance(ends, list) else [ends])
    return Answer(loaded.frontend.decode(new), complete)


@torch.inference_mode()
def prefill_seconds(
    loaded: Loaded,
    inputs: dict[str, torch.Tensor],
    ways: Sequence[Callable[[], AbstractContextManager[Any]]],
) -> tuple[list[float], int]:
    """Time the whole prefill, audio encoder and decoder up to the logits, in several contexts.

    Each goes once untimed; then they take turns, so that what else the machine does burdens all of
    them alike.

    Returns:
        The median wall-clock seconds of each way, and how many runs it is taken of.
    """
    taken: list[list[float]] = [[] for _ in ways]
    for way in ways:
        _run(loaded, inputs, way)
    begun = time.perf_counter()
    while len(taken[0]) < RUNS and (not taken[0] or time.perf_counter() - begun < BUDGET):
        for way, seconds in zip(ways, taken, strict=True):
            seconds.append(_run(loaded, inputs, way))
    return [statistics.median(seconds) for seconds in taken], len(taken[0])


def _run(
    loaded: Loaded,
    inputs: dict[str, torch.Tensor],
    way: Callable[[], AbstractContextManager[Any]],
) -> float:
    """Return how long one prefill takes; entering and leaving the context is not counted."""
    with way():
        wait_for(loaded.device)
        start = time.perf_counter()
        loaded.model(**inputs, use_cache=True)
        wait_for(loaded.device)
        return time.perf_counter() - start


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
