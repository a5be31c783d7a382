"""Asking a loaded model: greedy answers, and how long the prefill takes."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from transformers import LogitsProcessor

from calibrate.models.finite import raise_found
from calibrate.models.named import Loaded
from headrouter_core.engine.finite import usable

Measured = TypeVar("Measured")

#: Most timed runs of each measure, and seconds after which no further one is begun.
RUNS, BUDGET = 5, 10.0


@dataclass(frozen=True)
class Answer:
    """What a model says."""

    text: str
    complete: bool
    """Whether it ended by itself, not at the limit of new tokens."""


class Watch(LogitsProcessor):
    """Notes whether every step's logits told one token from another; nothing waits for that."""

    def __init__(self) -> None:
        self.sound: torch.Tensor | None = None
        """Scalar."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the scores as they are."""
        fine = usable(scores).all()
        self.sound = fine if self.sound is None else self.sound & fine
        return scores


@torch.inference_mode()
def answer(loaded: Loaded, inputs: dict[str, torch.Tensor], max_new_tokens: int) -> Answer:
    """Return the greedy answer to one conversation (inputs with one row, placed).

    Raises:
        NonFiniteError: logits were NaN or infinite; it says where that began.
    """
    watch = Watch()
    output = loaded.model.generate(
        **inputs,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        logits_processor=[watch],
    )
    if not bool(watch.sound):
        raise_found("the answer's logits are not finite", loaded.model, inputs)
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

    They take turns, see :func:`in_turn`.

    Returns:
        The median wall-clock seconds of each way, and how many runs it is taken of.
    """
    runs = in_turn([functools.partial(_run, loaded, inputs, way) for way in ways])
    return [statistics.median(seconds) for seconds in runs], len(runs[0])


def in_turn(measures: Sequence[Callable[[], Measured]]) -> list[list[Measured]]:
    """Measure several things side by side.

    Each goes once for nothing; then they take turns, so that what else the machine does burdens all
    of them alike.

    Returns:
        What each found, in up to ``RUNS`` rounds; none is begun after ``BUDGET`` seconds.
    """
    for measure in measures:
        measure()
    found: list[list[Measured]] = [[] for _ in measures]
    begun = time.perf_counter()
    while len(found[0]) < RUNS and (not found[0] or time.perf_counter() - begun < BUDGET):
        for measure, values in zip(measures, found, strict=True):
            values.append(measure())
    return found


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
