"""Timing: on one machine, in one run, one after the other, as ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

Measure = Callable[[], dict[str, float]]
"""One run of something: named seconds."""


class Clock:
    """Seconds on a device: whatever was launched before is waited for on both sides."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def now(self) -> float:
        """Return the time, once the device has nothing left to do."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()
        return time.perf_counter()

    def seconds(self, run: Callable[[], object]) -> float:
        """Return how long ``run`` takes."""
        started = self.now()
        run()
        return self.now() - started


def interleaved(runs: Mapping[str, Measure], repeats: int) -> dict[str, dict[str, list[float]]]:
    """Take turns: each round runs everything once, beginning one further on each time.

    What drifts (clocks, heat, other processes) then meets all alike, and the values of one round
    may be divided by each other. One round before the first is not counted: it compiles kernels,
    fills caches and finds out how memory is to be laid out.

    Returns:
        Run -> name -> ``repeats`` values.
    """
    names = list(runs)
    taken: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    for turn in range(-1, repeats):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            for key, value in runs[name]().items():
                if turn >= 0:
                    taken[name].setdefault(key, []).append(value)
    return taken


def summary(values: list[float]) -> dict[str, Any]:
    """Return median and quartiles, and every value as it was taken."""
    low, _, high = (
        statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    )
    return {"median": statistics.median(values), "quartiles": [low, high], "repeats": values}


def ratios(values: list[float], others: list[float]) -> list[float]:
    """Return ``values`` by ``others``, round by round."""
    return [value / other for value, other in zip(values, others, strict=True)]
