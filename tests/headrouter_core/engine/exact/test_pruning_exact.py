"""Exactness beyond the matrix of families: windows, caches and contexts in more combinations.

On Qwen2.5-Omni, some of whose layers slide here.
"""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import nn
from transformers import DynamicCache, StaticCache

from headrouter_core.pruning.context import prune

from ...checking.exactness import (
    TOLERANCE,
    generated,
    generated_error,
    masked_generation,
    masked_logits,
    omni_step,
    pruned_generation,
    pruned_logits,
)
from ...checking.masked import dropped_columns, masked
from ...checking.probes import Affinity, Scattered
from ...tiny.families import decoder_layers
from ...tiny.models import AUDIO, batch, row, thinker

PROMPTS = {
    "one": [row("system", 20, "question?")],
    "three": [row("system", 20, "question?"), row("s", 9, "why"), row("only text")],
}
WINDOWED = {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 3}

each_attention = pytest.mark.parametrize("attention", ["eager", "sdpa"])
each_prompt = pytest.mark.parametrize("prompt", PROMPTS)


@functools.cache
def model(attention: str, **text: Any) -> nn.Module:
    return thinker(attention, **text)


def reference(**text: Any) -> tuple[nn.Module, nn.ModuleList]:
    whole = model("eager", **text)
    return whole, decoder_layers(whole)


@each_attention
@pytest.mark.parametrize("layer", [2, 4])
@each_prompt
def test_sliding_windows_reach_as_far_as_before(attention: str, prompt: str, layer: int) -> None:
    inputs, windowed = batch(PROMPTS[prompt]), model(attention, **WINDOWED)
    found, kept = pruned_logits(windowed, inputs, Scattered(), 0.6, layer, omni_step)
    wanted = masked_logits(*reference(**WINDOWED), inputs, kept, layer, omni_step)
    assert found.error(wanted) < TOLERANCE


def own_static(model: Any) -> StaticCache:
    return StaticCache(model.config.get_text_config(), max_cache_len=60)


@each_attention
@pytest.mark.parametrize(
    ("text", "options"),
    [
        (WINDOWED, {}),
        (WINDOWED, {"cache_implementation": "static"}),
        (WINDOWED, {"past_key_values": own_static}),
        (WINDOWED, {"past_key_values": lambda model: DynamicCache()}),
        (WINDOWED, {"past_key_values": lambda model: DynamicCache(config=model.config)}),
        (WINDOWED, {"use_cache": False}),
        ({}, {"use_cache": False, "num_beams": 2}),
    ],
)
def test_generate(attention: str, text: dict[str, Any], options: dict[str, Any]) -> None:
    inputs, options = batch(PROMPTS["three"]), {"max_new_tokens": 8, **options}
    found, trace = pruned_generation(
        model(attention, **text), inputs, Affinity(), 0.6, 2, **options
    )
    kept = [entry.kept for entry in trace]
    wanted = masked_generation(*reference(**text), inputs, kept, 2, **options)
    assert generated_error(found, wanted) < TOLERANCE


@each_attention
def test_prompt_lookup_rolls_windows_back(attention: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cropped: list[int] = []
    crop = DynamicCache.crop
    monkeypatch.setattr(DynamicCache, "crop", lambda s, n: (cropped.append(n), crop(s, n))[1])
    # so that there is something to look up
    inputs = batch([[*row("system", 20), *[7, 8, 9, 7, 8, 9, 7, 8]]])
    options = {"prompt_lookup_num_tokens": 3, "max_new_tokens": 12}
    windowed = model(attention, **WINDOWED)
    found, trace = pruned_generation(windowed, inputs, Affinity(), 0.6, 2, **options)
    assert any(cropped)
    kept = [entry.kept for entry in trace]
    wanted = masked_generation(*reference(**WINDOWED), inputs, kept, 2, **options)
    assert generated_error(found, wanted) < TOLERANCE


@each_attention
@each_prompt
@torch.no_grad()
def test_second_turn_in_another_context(attention: str, prompt: str) -> None:
    pruned, inputs = model(attention), batch(PROMPTS[prompt])
    whole, layers = reference()

    def second(of: Any, first: Any) -> Any:
        rows, length = first.sequences.shape
        ids = torch.cat([first.sequences, torch.arange(30, 34).expand(rows, -1)], 1)
        new = length + 4 - inputs["attention_mask"].shape[1]
        mask = torch.cat([inputs["attention_mask"], torch.ones(rows, new, dtype=torch.long)], 1)
        turn = {"input_ids": ids, "attention_mask": mask}
        return generated(of, turn, past_key_values=first.past_key_values)

    with prune(pruned, Scattered(), 0.6, 2) as trace:
        first = generated(pruned, inputs)
    with prune(pruned, Scattered(), 0.9, 2) as later:
        found = second(pruned, first)
    assert not later
    kept = [entry.kept for entry in trace]
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    with masked(layers, 2, dropped_columns(ids, mask, AUDIO, kept)):
        wanted = second(whole, generated(whole, inputs))
    assert generated_error(found, wanted) < TOLERANCE


@each_attention
@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_what_is_at_padding_stays_out(attention: str, side: str) -> None:
    """Whatever early layers make of padding, NaN even, it does not get into the pruned prompt."""
    inputs, plain = batch(PROMPTS["three"], side), model(attention)
    padding = inputs["attention_mask"] == 0

    def spoil(module: Any, args: Any) -> Any:
        return (args[0].masked_fill(padding[..., None], torch.nan), *args[1:])

    with prune(plain, Scattered(), 0.6, 2):
        wanted = plain(**inputs).logits
    with (
        decoder_layers(plain)[2].register_forward_pre_hook(spoil),
        prune(plain, Scattered(), 0.6, 2),
    ):
        found = plain(**inputs).logits
    assert torch.equal(found, wanted)
