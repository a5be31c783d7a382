"""What eviction refuses, what it leaves as it was, and what a cache can go through."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import nn
from transformers import DynamicCache

from headrouter_core.errors import EvictionError, NonFiniteError, UnsupportedModelError, UsageError
from headrouter_core.eviction.context import evict
from headrouter_core.eviction.methods import AdaKV, SnapKV, StreamingLLM, get_method

from ..checking.exactness import TOLERANCE, generated, generated_error, omni_step
from ..checking.masked import error
from ..tiny.families import decoder_layers
from ..tiny.models import batch, full, row, thinker
from .hidden_heads import hidden_generation, hiding, steps

GIVEN = batch([row("system", 20, "question?"), row("s", 9, "why")])
ONE = batch([row("system", 20, "question?")])
METHOD = AdaKV(window=4)


@pytest.fixture(scope="module")
def model() -> Any:
    return thinker("sdpa")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"cache_implementation": "static"}, "StaticLayer, which cannot give memory back"),
        ({"cache_implementation": "offloaded"}, "offloaded"),
        ({"use_cache": False}, "runs on no cache"),
        ({"output_attentions": True, "return_dict_in_generate": True}, "cannot be put out"),
    ],
    ids=["static", "offloaded", "no cache", "attentions"],
)
def test_what_cannot_be_evicted_from_is_refused(
    model: Any, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(EvictionError, match=reason), evict(model, METHOD, 0.4):
        model.generate(**ONE, max_new_tokens=2, **options)


def test_drafts_behind_a_prompt_are_refused(model: Any) -> None:
    ids = batch([[*row("system", 20), *[7, 8, 9, 7, 8, 9, 7, 8]]])
    with pytest.raises(EvictionError, match="without an assistant"), evict(model, METHOD, 0.4):
        model.generate(**ids, max_new_tokens=4, prompt_lookup_num_tokens=3)


@pytest.mark.parametrize("budget", [0, -0.1, 1.1, "most", None, True, float("nan")])
def test_budgets_that_are_none(model: Any, budget: Any) -> None:
    with pytest.raises(UsageError, match="budget"), evict(model, METHOD, budget):
        pass


def test_arguments_that_are_none(model: Any) -> None:
    with pytest.raises(UsageError, match="method"), evict(model, "snapkv", 0.4):  # type: ignore[arg-type]
        pass
    with pytest.raises(UsageError, match="known are adakv"):
        get_method("snap")
    for kind, setting in ((SnapKV, {"kernel": 4}), (AdaKV, {"floor": 2}), (SnapKV, {"window": 0})):
        with pytest.raises(UsageError):
            kind(**setting)
    with evict(model, METHOD, 0.4) as trace:
        with pytest.raises(UsageError, match="evicted from already"), evict(model, METHOD, 0.4):
            pass
        model.generate(**ONE, max_new_tokens=2)
    assert len(trace) == 1


def test_attention_that_is_not_known_is_refused() -> None:
    other = thinker("sdpa")
    for layer in decoder_layers(other):
        layer.self_attn.config._attn_implementation = "flex_attention"
    with pytest.raises(UnsupportedModelError, match="'flex_attention'"), evict(other, METHOD, 0.4):
        pass


def test_the_model_is_left_as_it_was(model: Any) -> None:
    layers = decoder_layers(model)
    before = [layer.self_attn.config for layer in layers]
    wanted = generated(model, GIVEN)

    def fail(entry: Any) -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"), evict(model, METHOD, 0.4, on_entry=fail):
        generated(model, GIVEN)
    assert all(
        layer.self_attn.config is config for layer, config in zip(layers, before, strict=True)
    )
    found = generated(model, GIVEN)
    assert all(torch.equal(a, b) for a, b in zip(found.logits, wanted.logits, strict=True))


def test_the_whole_budget_evicts_nothing(model: Any) -> None:
    wanted = generated(model, GIVEN)
    with evict(model, METHOD, 1) as trace:
        found = generated(model, GIVEN)
    assert torch.equal(found.logits[0], wanted.logits[0])
    assert generated_error(found, wanted) < TOLERANCE
    for entry in trace:
        assert all(len(head) == entry.length for layer in entry.kept for head in layer)


def test_bytes_are_those_of_the_tensors(model: Any) -> None:
    with evict(model, StreamingLLM(), 0.5) as trace, torch.no_grad():
        cache = model(**ONE, use_cache=True).past_key_values
    (entry,) = trace
    length = ONE["input_ids"].shape[1]
    assert entry.bytes_before == 6 * 2 * 2 * length * 16 * 4
    tensors = [t for layer in cache.layers for group in layer.groups for t in group.tensors()]
    assert entry.bytes_held == sum(t.untyped_storage().nbytes() for t in tensors)
    states = [t for t in tensors if t.is_floating_point()]
    assert sum(t.untyped_storage().nbytes() for t in states) * length == entry.bytes_before * (
        length // 2
    )
    assert all(layer.keys is None and layer.values is None for layer in cache.layers)


@torch.no_grad()
def test_a_cache_is_continued_inside_such_a_context_only(model: Any) -> None:
    other = thinker("sdpa")
    with evict(model, METHOD, 0.4), evict(other, METHOD, 0.4):
        cache = model(**ONE, use_cache=True).past_key_values
        other(**ONE, use_cache=True)
        with pytest.raises(EvictionError, match="another Qwen2_5OmniThinker"):
            steps(other, cache, ONE["attention_mask"], omni_step)
    with pytest.raises(EvictionError, match="no such context is open"):
        steps(model, cache, ONE["attention_mask"], omni_step)
    with pytest.warns(UserWarning, match="no prompt was seen"), evict(model, METHOD, 0.4):
        pass


@torch.no_grad()
def test_copies_and_croppings_of_a_cache_go_on_as_it_would(model: Any) -> None:
    mask, whole = ONE["attention_mask"], thinker("eager")
    with evict(model, METHOD, 0.4) as trace:
        cache = model(**ONE, use_cache=True).past_key_values
        twin = copy.deepcopy(cache)
        first = steps(model, cache, mask, omni_step)
        cache.crop(-3)
        again = [steps(model, each, mask, omni_step) for each in (cache, twin)]
    with hiding(decoder_layers(whole), [(list(trace), mask)], [mask.shape[1]]):
        own = whole(**ONE, past_key_values=DynamicCache(), use_cache=True).past_key_values
        wanted = steps(whole, own, mask, omni_step)
    for found in (first, *again):
        assert max(map(error, found, wanted)) < TOLERANCE


@torch.no_grad()
def test_a_forward_that_failed_half_way_is_not_gone_on_with(model: Any) -> None:
    def fail(module: nn.Module, args: Any) -> None:
        raise RuntimeError("mine")

    with evict(model, METHOD, 0.4):
        cache = model(**ONE, use_cache=True).past_key_values
        with decoder_layers(model)[3].register_forward_pre_hook(fail), pytest.raises(RuntimeError):
            steps(model, cache, ONE["attention_mask"], omni_step)
        with pytest.raises(EvictionError, match="failed half-way"):
            steps(model, cache, ONE["attention_mask"], omni_step)


def test_nan_is_said(model: Any) -> None:
    broken = copy.deepcopy(model)
    with torch.no_grad():
        decoder_layers(broken)[2].self_attn.k_proj.weight[0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match="layer 2 by NaN"), evict(broken, METHOD, 0.4):
        broken.generate(**ONE, max_new_tokens=2)


def test_threads_have_contexts_of_their_own(model: Any) -> None:
    wanted = generated(model, GIVEN)

    def run(budget: float | None) -> Any:
        if budget is None:
            return generated(model, GIVEN), None
        with evict(model, METHOD, budget) as trace:
            return generated(model, GIVEN), list(trace)

    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(run, [0.2, None, 0.6, None, 0.4]))
    reference = thinker("eager")
    for found, entries in made:
        if entries is None:
            assert all(torch.equal(a, b) for a, b in zip(found.logits, wanted.logits, strict=True))
        else:
            hidden = hidden_generation(reference, GIVEN, entries)
            assert generated_error(found, hidden) < TOLERANCE


def test_another_thread_is_bound_by_the_trace(model: Any) -> None:
    with evict(model, METHOD, 0.4) as trace, ThreadPoolExecutor(1) as pool:
        pool.submit(trace.bound(model.generate), **ONE, max_new_tokens=2).result()
    assert len(trace) == 1
    assert repr(trace).startswith("Evictions([")


def test_a_full_model_is_evicted_from_in_its_thinker() -> None:
    whole = full()
    with evict(whole, METHOD, 0.4) as trace:
        whole.thinker.generate(**ONE, max_new_tokens=2)
    assert len(trace) == 1


@pytest.mark.filterwarnings("ignore")
def test_compiled_steps_are_the_same(model: Any) -> None:
    compiled = torch.compile(model, backend="eager")
    with evict(model, METHOD, 0.4):
        wanted = generated(model, ONE)
    for _ in range(2):
        whole = generated(compiled, ONE)
        with evict(compiled, METHOD, 0.4):
            found = generated(compiled, ONE)
        assert generated_error(found, wanted) < TOLERANCE
    assert not torch.equal(whole.logits[-1], found.logits[-1])
