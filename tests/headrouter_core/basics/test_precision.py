"""Scores are float32 or better whatever the model, its caller and the process compute in."""

import pytest
import torch

from calibrate.estimation.replay.layers import replay
from calibrate.estimation.replay.prefix import capture
from headrouter_core import routing, scoring
from headrouter_core.basics.precision import full_precision
from headrouter_core.pruning.context import prune
from headrouter_core.selectors import HeadRouter

from ..checking.views import make_view
from ..selectors.test_selector_contract import (
    every_selector,
    fitting_profile,
    make_selectors,
    model,
    prompts,
)

half = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
PARTS = ("kept", "importance", "spread", "mixing", "states")


def assert_same(found, wanted):
    """Check that two selections are the same to the bit."""
    for part in PARTS:
        ours, theirs = getattr(found, part), getattr(wanted, part)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert ours.dtype == theirs.dtype
            assert torch.equal(ours.nan_to_num(), theirs.nan_to_num())


@half
def test_functions_are_not_rounded_under_autocast(dtype):
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(4, 20, 16, generator=generator) * 3
    keys = torch.randn(2, 300, 16, generator=generator) * 3
    weights, centers = torch.rand(3, 4, generator=generator), torch.tensor([0.2, 0.1, 0.3])

    def everything():
        probe = scoring.probe(queries, keys)
        spread = scoring.spread(scoring.selectivity(probe))
        mixing = routing.mixing(spread, centers, 0.02)
        mixed = routing.route_weights(mixing, weights)
        return [
            *(probe, spread, mixing, mixed, scoring.importance(probe, mixed)),
            scoring.candidate_importance(probe, mixed, 30, 0.5),
        ]

    wanted = everything()
    with torch.autocast("cpu", dtype):
        found = everything()
        assert (queries[0] @ keys[0].mT).dtype == dtype  # it is on, and stays on
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours.nan_to_num(), theirs.nan_to_num())


@half
def test_half_precision_is_accumulated_in_float32(dtype):
    probe = torch.rand(4, 300, generator=torch.Generator().manual_seed(0)).softmax(-1).to(dtype)
    weights = torch.full((4,), 0.25, dtype=dtype)
    assert torch.equal(scoring.importance(probe, weights), weights.float() @ probe.float())
    assert scoring.candidate_importance(probe, weights, 30, 0.5).dtype == torch.float32
    assert scoring.spread(weights).dtype == torch.float32
    assert routing.route_weights(weights[:3], torch.rand(3, 4)).dtype == torch.float32


@every_selector
@half
def test_every_selector_is_the_same_under_autocast(index, dtype):
    selector, view = make_selectors()[index], make_view(10)
    wanted = selector(view, 4)
    with torch.autocast("cpu", dtype):
        assert_same(selector(view, 4), wanted)


@every_selector
def test_every_selector_is_the_same_whatever_the_default_dtype_and_device(index):
    selector, view = make_selectors()[index], make_view(10)
    wanted = selector(view, 4)
    for dtype in (torch.float64, torch.bfloat16):
        torch.set_default_dtype(dtype)
        try:
            assert_same(selector(view, 4), wanted)
        finally:
            torch.set_default_dtype(torch.float32)
    with torch.device("meta"):  # as set_default_device("cuda"): nothing may land there
        assert_same(selector(view, 4), wanted)


@every_selector
@pytest.mark.parametrize("ratio", [0, 0.6])
@half
@torch.no_grad()
def test_pruning_under_autocast(index, dtype, ratio):
    selector = make_selectors(fitting_profile(), audios=[20, 9, 0])[index]
    with torch.autocast("cpu", dtype), prune(model("sdpa"), selector, ratio, 2) as trace:
        assert model("sdpa")(**prompts()).logits.isfinite().all()
    for entry in trace:
        for part in (entry.importance, entry.spread, entry.mixing):
            assert part is None or part.dtype == torch.float32


@pytest.mark.parametrize("name", ["headrouter", "random", "affinity_merge"])
@torch.no_grad()
def test_pruning_whatever_the_default_device(name):
    """'meta' stands in for 'cuda': what lands there by mistake cannot be read."""
    selectors = make_selectors(fitting_profile())
    selector = next(selector for selector in selectors if selector.name == name)
    inputs, whole = prompts(), model("sdpa")
    unmasked = {key: value[:1] for key, value in inputs.items() if key == "input_ids"}
    # encoders of transformers make tensors of their own: audio stays where embeddings have it
    only_text = {key: inputs[key] for key in ("input_ids", "attention_mask")}
    for given in (only_text, unmasked):
        with prune(whole, selector, 0.6, 2):
            wanted = whole(**given).logits
        with torch.device("meta"), prune(whole, selector, 0.6, 2):
            assert torch.equal(whole(**given).logits, wanted)
    wanted = prefix_logits(whole, inputs)
    with torch.device("meta"):
        assert torch.equal(prefix_logits(whole, inputs), wanted)


def prefix_logits(whole, inputs):
    one = {key: value[:1] for key, value in inputs.items() if key == "input_ids"}
    prefix = capture(whole, one, 2, prompt_length=one["input_ids"].shape[1] - 2)
    return replay(whole, prefix, torch.arange(9, device="cpu")[None])


class Plain:
    """A selector of somebody who has not heard of autocast."""

    name, text_tokens = "plain", "all"
    needs = HeadRouter.needs

    def __call__(self, view, k):
        self.dtype = (view.queries.float() @ view.queries.float().mT).dtype
        return make_selectors()[0](view, k)


@half
@torch.no_grad()
def test_autocast_is_off_for_foreign_selectors(dtype):
    selector = Plain()
    with torch.autocast("cpu", dtype), prune(model("sdpa"), selector, 0.6, 2):
        model("sdpa")(**prompts())
    assert selector.dtype == torch.float32


def test_a_selector_first_used_in_inference_mode_can_train_later():
    selector, view = HeadRouter(fitting_profile()), make_view(10)
    with torch.inference_mode():
        wanted = selector(view, 4)
    found = selector(view, 4)
    assert torch.equal(found.kept, wanted.kept)
    assert not found.importance.is_inference()


def test_devices_without_autocast_are_left_alone():
    with full_precision(torch.device("meta")):
        pass
