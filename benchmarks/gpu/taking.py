"""Taking one measurement: the model that it needs, its prompt, and who measures."""

from __future__ import annotations

import dataclasses
import gc
from typing import Any

import torch

from benchmarks.gpu.plan import Measurement
from benchmarks.measuring import answers, calibrating, prefills
from benchmarks.measuring.bench import Bench
from benchmarks.measuring.clock import Clock
from benchmarks.measuring.suite import marked_files, run_tests
from benchmarks.subjects import models, prompts
from benchmarks.subjects.shapes import SHAPES
from headrouter_core.pruning.context import DEFAULT_LAYER

SEED = 0


class Taker:
    """Takes measurements on a device, and holds the model of one shape at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._bench: Bench | None = None

    @property
    def shape(self) -> str:
        """The shape whose weights are drawn; empty before the first."""
        return "" if self._bench is None else self._bench.shape.name

    def take(self, measurement: Measurement, timeout: float) -> dict[str, Any]:
        """Return what a measurement finds, JSON-ready.

        Args:
            measurement: what to measure.
            timeout: seconds after which the tests are stopped; nothing else is.
        """
        if measurement.kind == "tests":
            return run_tests(marked_files(), timeout)
        if self.shape != measurement.shape:
            self._draw(measurement.shape)
        assert self._bench is not None
        bench = dataclasses.replace(self._bench, repeats=measurement.rounds)
        seconds, ratios = measurement.seconds, list(measurement.ratios)
        if measurement.kind == "calibration":
            return calibrating.measure_calibration(bench, seconds)
        if measurement.kind == "end_to_end":
            return answers.measure_end_to_end(bench, seconds, ratios)
        prompt = prompts.synthetic(bench.shape, seconds, self._device, SEED, measurement.batch)
        if measurement.kind == "prefill":
            return prefills.measure_prefill(bench, prompt, ratios)
        if measurement.kind == "selectors":
            return prefills.measure_selectors(bench, prompt)
        return answers.measure_decode(bench, prompt, ratios)

    def tidy(self) -> None:
        """Give back what a measurement that failed may have left of its memory."""
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _draw(self, name: str) -> None:
        """Draw the weights of a shape where those of the last one were."""
        self._bench = None
        self.tidy()
        shape = SHAPES[name]
        model = models.random_thinker(shape, self._device, SEED)
        profile = models.drawn_profile(model, DEFAULT_LAYER, SEED)
        clock = Clock(self._device)
        self._bench = Bench(model, shape, profile, clock, DEFAULT_LAYER, repeats=1, seed=SEED)
