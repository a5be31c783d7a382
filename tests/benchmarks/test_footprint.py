"""Peaks counted without values are those of a run with values."""

from __future__ import annotations

import pytest
import torch

from benchmarks.footprint import META, inputs_on, peak
from benchmarks.measuring.bench import every_selector, last_logits
from benchmarks.subjects import models
from benchmarks.subjects.shapes import SHAPES
from headrouter_core import SELECTORS

TINY = SHAPES["tiny"]
CPU = torch.device("cpu")
AUDIO = 400


def peaks(device: torch.device) -> dict[str, int]:
    model = models.random_thinker(TINY, device, 0)
    inputs = inputs_on(device, TINY, AUDIO)
    found = {"all logits": peak(model, inputs, None)}
    kinds = every_selector(models.drawn_profile(model, 2, 0), torch.zeros(AUDIO))
    with last_logits(model), torch.no_grad():
        found["unpruned"] = peak(model, inputs, None)
        for name, kind in kinds.items():
            found[name] = peak(model, inputs, (kind, 0.6))
    return found


def test_peaks_are_those_of_a_run_with_values() -> None:
    hollow, real = peaks(META), peaks(CPU)
    assert set(hollow) == {"all logits", "unpruned", *SELECTORS}
    # what is copied to a device is there twice, and on a CPU once: a few numbers a token
    assert hollow == pytest.approx(real, rel=0.02)
    rows = 400 + 66 - 1
    assert hollow["all logits"] - hollow["unpruned"] <= rows * TINY.text["vocab_size"] * 4
    for name in SELECTORS:
        assert hollow[name] <= hollow["unpruned"], name
