"""What stands beside a pruned prefill: an ideal written without the engine, and naive forms."""

from __future__ import annotations

import time

import pytest
import torch

from benchmarks.measuring import answers, calibrating
from benchmarks.measuring.bench import Bench, Watched, last_logits
from benchmarks.measuring.clock import Clock
from benchmarks.measuring.ideal import shortened
from benchmarks.subjects import models, prompts
from benchmarks.subjects.shapes import SHAPES
from headrouter_core import Frame, Selection, View, families, prune

TINY = SHAPES["tiny"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bench() -> Bench:
    model = models.random_thinker(TINY, CPU, 0)
    return Bench(model, TINY, models.drawn_profile(model, 2, 0), Clock(CPU), 2, repeats=1, seed=0)


@pytest.mark.parametrize("batch", [1, 3])
@torch.no_grad()
def test_the_ideal_is_a_pruning_whose_tokens_are_known(bench: Bench, batch: int) -> None:
    prompt = prompts.synthetic(TINY, 2, CPU, 0, batch)
    with shortened(bench.model, prompt, 2, 20), last_logits(bench.model):
        found = bench.model(**prompt.inputs).logits
    with prune(bench.model, Frame(), keep=20, layer=2), last_logits(bench.model):
        wanted = bench.model(**prompt.inputs).logits
    torch.testing.assert_close(found, wanted)
    unpruned = bench.model(**prompt.inputs).logits[:, -1:]
    assert found.shape == (batch, 1, 512)
    assert not torch.allclose(found, unpruned, atol=1e-3)
    assert not torch.equal(found[:1], found[-1:]) or batch == 1  # rows differ


def test_the_ideal_takes_no_prompt_with_a_mask(bench: Bench) -> None:
    prompt = prompts.synthetic(TINY, 2, CPU, 0, 2)
    mask = torch.ones_like(prompt.input_ids)
    mask[0, 0] = 0
    with pytest.raises(AssertionError, match="no mask"), shortened(bench.model, prompt, 2, 20):
        bench.model(**prompt.inputs, attention_mask=mask)


class Slow(Frame):
    """Takes a while for each row."""

    def __call__(self, view: View, k: int) -> Selection:
        time.sleep(0.02)
        return super().__call__(view, k)


def test_a_watched_selector_chooses_the_same_and_counts_each_row_once(bench: Bench) -> None:
    prompt = prompts.synthetic(TINY, 2, CPU, 0, 4)
    watched = Watched(Slow(), CPU)
    handle = families.locate(bench.model).layers[1].register_forward_hook(watched.begin)
    with torch.no_grad(), prune(bench.model, watched, 0.6) as trace:
        started = time.perf_counter()
        bench.model(**prompt.inputs)
        whole = time.perf_counter() - started
    handle.remove()
    assert all(entry.kept.tolist() == [i * 50 // 20 for i in range(20)] for entry in trace)
    assert 4 * 0.02 <= watched.seconds() < whole


def test_calibration_and_its_naive_form_find_the_same_losses(bench: Bench) -> None:
    found = calibrating.measure_calibration(bench, 2)
    heads = TINY.text["num_attention_heads"]
    assert 1 < found["kept_sets"] <= 2 * heads + 1
    assert found["largest_difference"] < 1e-4
    assert len(found["naive"]["a_set"]["repeats"]) == found["kept_sets"]
    assert found["naive"]["seconds"] > sum(found["naive"]["a_set"]["repeats"])
    assert found["shared"]["peak_bytes"] > 0
    assert found["speedup"]["repeats"] == pytest.approx(
        [found["naive"]["seconds"] / one for one in found["shared"]["seconds"]["repeats"]]
    )


def test_a_step_is_the_time_between_tokens(bench: Bench) -> None:
    prompt = prompts.synthetic(TINY, 1, CPU, 0, 2)
    for entry in answers.measure_decode(bench, prompt, [0.6]).values():
        for step, rate in zip(
            entry["step"]["repeats"], entry["tokens_per_second"]["repeats"], strict=True
        ):
            assert step * rate == pytest.approx(1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_events_and_peaks_of_a_gpu() -> None:
    """On a tiny model, before minutes are spent on a large one."""
    device = torch.device("cuda")
    model = models.random_thinker(TINY, device, 0)
    profile = models.drawn_profile(model, 2, 0)
    bench = Bench(model, TINY, profile, Clock(device), 2, repeats=1, seed=0)
    prompt = prompts.synthetic(TINY, 4, device, 0, 2)
    bench.prefill(prompt, bench.headrouter(0.6))
    times = bench.prefill(prompt, bench.headrouter(0.6))
    assert 0 < times["selecting"] < times["seconds"]
    assert calibrating.measure_calibration(bench, 2)["naive"]["peak_bytes"] > 0
