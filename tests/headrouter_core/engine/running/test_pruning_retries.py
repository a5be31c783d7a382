"""What a forward is told by: what failed leaves nothing behind, and ids alone are no prompt."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn
from transformers import Cache, DynamicCache, LogitsProcessor, LogitsProcessorList, StaticCache

from headrouter_core import Energy, PruningError
from headrouter_core.pruning.context import prune

from ...checking.exactness import omni_step
from ...checking.guarded import ONE, fixture_model
from ...checking.probes import Affinity, Scattered
from ...tiny.families import decoder_layers
from ...tiny.models import batch, row

model = fixture_model
OTHER = [row("system", 20, "question?", seed=4)]


@contextmanager
def failing(module: nn.Module) -> Iterator[None]:
    """Run out of memory before a module."""

    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("out of memory")

    handle = module.register_forward_pre_hook(fail)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            yield
    finally:
        handle.remove()


@pytest.mark.parametrize("layer", [0, 2, 3, 5])
@torch.no_grad()
def test_a_failed_prefill_counts_for_nothing(model: nn.Module, layer: int) -> None:
    loud = [torch.arange(20.0), -torch.arange(20.0)]  # by sample number: another would be chosen

    def kept(fail: bool) -> list[list[int]]:
        with prune(model, Energy(loud), 0.6) as trace:
            for prompt in (ONE, OTHER):
                if fail:
                    with failing(decoder_layers(model)[layer]):
                        model(**batch(prompt))
                model(**batch(prompt))
        assert len(trace) == 2
        return [entry.kept.tolist() for entry in trace]

    assert kept(fail=True) == kept(fail=False)


def static(model: Any) -> Cache:
    return StaticCache(model.config.get_text_config(), max_cache_len=80)


BEFORE = {
    "any layer": lambda model: model.get_input_embeddings(),
    "the first layer": lambda model: decoder_layers(model)[0],
    "its attention": lambda model: decoder_layers(model)[0].self_attn,
}


@pytest.mark.parametrize("make", [lambda model: DynamicCache(), static], ids=["dynamic", "static"])
@pytest.mark.parametrize("layer", BEFORE.values(), ids=BEFORE)
@torch.no_grad()
def test_a_step_that_fails_before_the_cache_grew_is_tried_again(
    model: Any, make: Any, layer: Any
) -> None:
    prompt = batch([*ONE, *OTHER])
    steps = torch.tensor([[7], [9]]), torch.tensor([[3], [4]])

    def logits(fail: bool) -> list[torch.Tensor]:
        with prune(model, Scattered(), 0.6, 2):
            cache = make(model)
            found = [model(**prompt, past_key_values=cache, use_cache=True).logits]
            mask = prompt["attention_mask"]
            for ids in steps:
                mask = torch.cat([mask, mask.new_ones(2, 1)], dim=1)
                step = {**omni_step(ids, mask), "past_key_values": cache}
                if fail:
                    with failing(layer(model)):
                        model(**step)
                found.append(model(**step).logits)
        return found

    assert all(map(torch.equal, logits(fail=True), logits(fail=False)))


@torch.no_grad()
def test_a_step_that_fails_half_way_is_not_gone_on_from(model: Any) -> None:
    prompt = batch([*ONE, *OTHER])
    mask = torch.cat([prompt["attention_mask"], torch.ones(2, 1, dtype=torch.long)], dim=1)
    with prune(model, Scattered(), 0.6, 2):
        cache = model(**prompt, use_cache=True).past_key_values
        step = {**omni_step(torch.tensor([[7], [9]]), mask), "past_key_values": cache}
        with failing(decoder_layers(model)[3]):
            model(**step)
        with pytest.raises(PruningError, match="failed half-way"):
            model(**step)


@torch.no_grad()
def test_other_audio_behind_the_same_ids_inside_generate(model: Any) -> None:
    """Audio-aware contrastive decoding asks about noise by the same prompt."""
    prompt = batch(ONE)
    noise = torch.randn(prompt["input_features"].shape, generator=torch.Generator().manual_seed(9))
    other = {**prompt, "input_features": noise * 30}
    seen: list[torch.Tensor] = []

    class Contrast(LogitsProcessor):
        def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            if not seen:
                seen.append(model(**other).logits[:, -1])
            return scores

    with prune(model, Affinity(), 0.6, 2) as trace:
        contrast = LogitsProcessorList([Contrast()])
        model.generate(**prompt, max_new_tokens=2, do_sample=False, logits_processor=contrast)
    with prune(model, Affinity(), 0.6, 2) as alone:
        wanted = model(**other).logits[:, -1]
    assert len(trace) == 2
    assert trace[1].kept.tolist() == alone[0].kept.tolist() != trace[0].kept.tolist()
    assert torch.equal(seen[0], wanted)
