"""How long a prefill takes: turns, medians, and when to stop."""

import types
from contextlib import nullcontext

import pytest
import torch

from calibrate.models import asking


def ticking(monkeypatch, durations):
    """Make every forward take as long as the next of ``durations``, and note what ran."""
    now, ran = [0.0], []
    monkeypatch.setattr(asking.time, "perf_counter", lambda: now[0])

    def forward(**inputs):
        ran.append(len(ran))
        now[0] += durations[len(ran) - 1]

    return types.SimpleNamespace(model=forward, device=torch.device("cpu")), ran


def test_timing_takes_turns_and_the_median(monkeypatch):
    monkeypatch.setattr(asking, "RUNS", 3)
    # untimed, untimed, then slow and quick in turn
    model, ran = ticking(monkeypatch, [9, 9, 0.5, 0.1, 0.7, 0.2, 0.6, 0.3])
    entered = []
    ways = [lambda: nullcontext(entered.append("slow")), lambda: nullcontext(entered.append("q"))]
    seconds, runs = asking.prefill_seconds(model, {}, ways)
    assert seconds == pytest.approx([0.6, 0.2])
    assert runs == 3
    assert len(ran) == 8
    assert entered == ["slow", "q"] * 4


def test_a_slow_prefill_is_timed_once(monkeypatch):
    monkeypatch.setattr(asking, "RUNS", 5)
    model, ran = ticking(monkeypatch, [60.0] * 20)
    assert asking.prefill_seconds(model, {}, [nullcontext, nullcontext]) == ([60, 60], 1)
    assert len(ran) == 4
