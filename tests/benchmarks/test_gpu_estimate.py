"""Estimates agree with what torch counts, and the whole plan fits into minutes on one H100."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.footprint import META, inputs_on, peak
from benchmarks.gpu import estimate
from benchmarks.gpu.plan import KINDS, Measurement, plan
from benchmarks.measuring.bench import last_logits
from benchmarks.measuring.ideal import shortened
from benchmarks.subjects import models, prompts
from benchmarks.subjects.shapes import SHAPES

TINY = SHAPES["tiny"]
CPU = torch.device("cpu")
TRUE = ("qwen2.5-omni-7b", "qwen2.5-omni-3b")
FOOTPRINT = Path(__file__).parents[2] / "benchmarks" / "results" / "footprint.json"


@torch.no_grad()
def test_operations_are_those_that_torch_counts() -> None:
    model, prompt = models.random_thinker(TINY, CPU, 0), prompts.synthetic(TINY, 4, CPU, 0)
    assert estimate.columns(4) == prompt.length
    # attention as products: torch counts those, and not what its kernel for CPUs does
    with last_logits(model), sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as counter:
            model(**prompt.inputs)
        assert counter.get_total_flops() == pytest.approx(
            estimate.flops(TINY, prompt.length), rel=0.001
        )
        with shortened(model, prompt, 2, 40), FlopCounterMode(display=False) as counter:
            model(**prompt.inputs)
    kept = estimate.columns(4, 0.6)
    assert kept == prompt.length - 60
    assert counter.get_total_flops() == pytest.approx(
        estimate.flops(TINY, prompt.length, kept), rel=0.001
    )


def test_peaks_are_those_that_are_counted() -> None:
    """To a few percent: older transformers hold a little more beside the logits."""
    model, columns = models.random_thinker(TINY, META, 0), estimate.columns(8)
    inputs = inputs_on(META, TINY, 200)
    wanted = estimate.peak(TINY, columns, 1, all_logits=True)
    assert peak(model, inputs, None) == pytest.approx(wanted, rel=0.06)
    with last_logits(model):
        wanted = estimate.peak(TINY, columns, 1)
        assert peak(model, inputs, None) == pytest.approx(wanted, rel=0.06)


@pytest.mark.parametrize("name", TRUE)
def test_peaks_of_the_true_shapes_are_those_of_the_footprint(name: str) -> None:
    shape, lengths = SHAPES[name], json.loads(FOOTPRINT.read_text("utf-8"))["models"][name]
    for length in lengths:
        columns = estimate.columns(length["seconds"])
        assert estimate.peak(shape, columns, 1) == length["unpruned_bytes"]
        every = estimate.peak(shape, columns, 1, all_logits=True)
        assert every == length["with_all_logits_bytes"]["unpruned"]
        assert estimate.peak(shape, columns, 8) == 8 * length["unpruned_bytes"]


def test_the_whole_plan_fits_into_nine_minutes_of_an_h100() -> None:
    measurements = plan(TRUE)
    assert estimate.total(measurements) <= 9 * 60
    assert {one.kind for one in measurements} == set(KINDS)
    for one in measurements:
        assert estimate.memory(one) <= 40 * 2**30, one.name
        assert one.impossible is None
    prefills = {(m.shape, m.seconds, m.batch) for m in measurements if m.kind == "prefill"}
    assert prefills == {(s, t, b) for s in TRUE for t in (30, 90, 300, 600) for b in (1, 8)}


def test_what_the_goals_are_about_comes_first_and_large_batches_last() -> None:
    measurements = plan(TRUE)
    assert measurements[0] == Measurement("tests")
    assert {(m.kind, m.batch) for m in measurements[1:9]} == {("prefill", 1)}
    batches = [m.batch for m in measurements]
    assert batches == sorted(batches)
    shapes = [m.shape for m in measurements[1:]]
    assert sum(a != b for a, b in itertools.pairwise(shapes)) == 4


def test_an_estimate_grows_with_what_is_asked() -> None:
    base = Measurement("prefill", TRUE[0], 300, 1, 5, (0.6,))
    for change in ({"seconds": 600}, {"batch": 8}, {"rounds": 9}, {"ratios": (0.3, 0.6)}):
        assert estimate.seconds(dataclasses.replace(base, **change)) > estimate.seconds(base)
    short = dataclasses.replace(base, seconds=1)
    launches = SHAPES[TRUE[0]].layers * estimate.H100.layer_launch
    # a short prefill waits for the host: 6 rounds of 3 runs, and 2 for the peaks
    assert estimate.seconds(short) == pytest.approx((6 * 3 + 2) * launches)
    assert Measurement("end_to_end", TRUE[0], 301).impossible == (
        "the front end takes at most 300 s of audio"
    )
