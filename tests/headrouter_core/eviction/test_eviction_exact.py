"""Eviction against a whole cache with the same columns hidden, for every family that it takes."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import nn
from transformers import DynamicCache

from headrouter_core.errors import EvictionError, UnsupportedModelError
from headrouter_core.eviction.context import evict
from headrouter_core.eviction.methods import H2O, AdaKV, RandomKV, SnapKV, StreamingLLM
from headrouter_core.pruning.context import prune

from ..checking.exactness import TOLERANCE, Inputs, Step, dropped_from, generated, generated_error
from ..checking.masked import error, masked
from ..checking.matrix import FAMILIES, FORMS, inputs, made, step_of, tiny
from ..checking.probes import Scattered
from ..tiny.families import decoder_layers
from ..tiny.models import row
from .conftest import Note
from .hidden_heads import evicted_generation, hidden_generation, hiding, steps

SHARING = ("gemma3n", "gemma4")
#: Their tiny models have layers that see 9 tokens back.
WINDOWED = ("phi4_multimodal", "gemma4_unified", "muse_spark")
TAKEN = [name for name in FAMILIES if name not in (*SHARING, *WINDOWED)]
SHORT = [row("s", 2, "why")]

each_family = pytest.mark.parametrize("name", TAKEN)
each_attention = pytest.mark.parametrize("attention", ["eager", "sdpa"])


def worst(name: str, attention: str, given: Inputs, method: Any, **options: Any) -> float:
    """Return the worst error of a generation that is evicted from."""
    found, entries = evicted_generation(tiny(name, attention), given, method, 0.4, **options)
    assert any(len(head) < entry.length for entry in entries for head in entry.kept[0])
    wanted = hidden_generation(tiny(name, "eager"), given, entries, **options)
    return generated_error(found, wanted)


@each_family
@each_attention
@pytest.mark.parametrize("form", FORMS)
def test_greedy(name: str, attention: str, form: str, note: Note) -> None:
    found = worst(name, attention, inputs(name, form), AdaKV(window=4))
    note(name, "greedy" if form in ("one", "several") else "padded batch", found)
    assert found < TOLERANCE


@each_family
@each_attention
@pytest.mark.parametrize(
    ("feature", "form", "options"),
    [
        ("sampling", "several", {"do_sample": True, "num_return_sequences": 3}),
        ("beams", "text row", {"num_beams": 3, "num_return_sequences": 2}),
    ],
    ids=["sampling", "beams"],
)
def test_sampling_and_beams(
    name: str, attention: str, feature: str, form: str, options: dict[str, Any], note: Note
) -> None:
    found = worst(name, attention, inputs(name, form), AdaKV(window=4), **options)
    note(name, feature, found)
    assert found < TOLERANCE


@each_attention
@pytest.mark.parametrize("name", WINDOWED)
def test_prompts_within_a_window_are_taken_and_longer_ones_refused(
    name: str, attention: str, note: Note
) -> None:
    # steps go beyond the window, which the mask tells
    found = worst(name, attention, made(name, SHORT), AdaKV(window=2))
    note(name, "greedy", found)
    assert found < TOLERANCE
    with pytest.raises(EvictionError, match=r"sees \d+ tokens back"):
        worst(name, attention, inputs(name, "one"), AdaKV(window=4))


@pytest.mark.parametrize("name", SHARING)
def test_layers_that_share_keys_are_refused(name: str) -> None:
    with (
        pytest.raises(UnsupportedModelError, match="take the keys of earlier ones"),
        evict(tiny(name, "sdpa"), SnapKV(), 0.4),
    ):
        pass


@pytest.mark.parametrize(
    "method", [SnapKV(window=4), H2O(), StreamingLLM(), RandomKV(window=4)], ids=lambda m: m.name
)
@pytest.mark.parametrize("budget", [0.1, 0.4, 0.9])
def test_methods_and_budgets(method: Any, budget: float) -> None:
    given = inputs("qwen2_audio", "left")
    found, entries = evicted_generation(tiny("qwen2_audio", "sdpa"), given, method, budget)
    for entry in entries:
        counts = {len(head) for layer in entry.kept for head in layer}
        assert counts == {max(1, math.floor(entry.length * Fraction(str(budget))))}
    wanted = hidden_generation(tiny("qwen2_audio", "eager"), given, entries)
    assert generated_error(found, wanted) < TOLERANCE


def both_turns(model: nn.Module, given: Inputs, turn: Inputs, step: Step) -> list[torch.Tensor]:
    """Return the logits of a prompt, of tokens behind it, of a second turn and tokens behind it."""
    cache = DynamicCache()
    logits = [model(**given, past_key_values=cache, use_cache=True).logits[:, -1:]]
    logits += steps(model, cache, given["attention_mask"], step)
    mask, ids = turn["attention_mask"], turn["input_ids"]
    output = model(**step(ids, mask), past_key_values=cache, use_cache=True)
    return [*logits, output.logits[:, -1:], *steps(model, cache, mask, step)]


@each_family
@each_attention
@torch.no_grad()
def test_a_second_turn_counts_the_whole_conversation(name: str, attention: str, note: Note) -> None:
    given, step = inputs(name, "left"), step_of(name)
    mask = given["attention_mask"]
    more = torch.arange(30, 36).expand(len(mask), -1)
    own = torch.ones(len(mask), 3 + 6, dtype=torch.long)
    own[1, 3:5] = 0  # turns of different lengths are padded in the middle
    turn = {"input_ids": more, "attention_mask": torch.cat([mask, own], 1)}
    with evict(tiny(name, attention), AdaKV(window=4), 0.4) as trace:
        found = both_turns(tiny(name, attention), given, turn, step)
    first, second = trace[:3], trace[3:]
    assert [entry.length for entry in second] == turn["attention_mask"].sum(1).tolist()
    budgets = [12 * int(0.4 * entry.length) for entry in second]  # 6 layers of 2 heads
    assert [sum(len(h) for layer in e.kept for h in layer) for e in second] == budgets
    whole = tiny(name, "eager")
    turns = [(first, mask), (second, turn["attention_mask"])]
    ends = [mask.shape[1], turn["attention_mask"].shape[1]]
    with hiding(decoder_layers(whole), turns, ends):
        wanted = both_turns(whole, given, turn, step)
    worst_error = max(map(error, found, wanted))
    note(name, "second turn", worst_error)
    assert worst_error < TOLERANCE


@each_family
@each_attention
@pytest.mark.parametrize("order", ["prune first", "evict first"])
def test_together_with_pruning(name: str, attention: str, order: str, note: Note) -> None:
    given, model = inputs(name, "left"), tiny(name, attention)
    contexts: list[Any] = [
        lambda: prune(model, Scattered(), 0.6, 2),
        lambda: evict(model, AdaKV(window=4), 0.4),
    ]
    if order == "evict first":
        contexts.reverse()
    with contexts[0]() as one, contexts[1]() as other:
        found = generated(model, given)
    pruned, evicted = (one, other) if order == "prune first" else (other, one)
    for entry, row_kept in zip(evicted, pruned, strict=True):
        left = entry.length - row_kept.audio_tokens + len(row_kept.kept)
        lengths = [sum(map(len, layer)) for layer in entry.kept]
        assert lengths == [2 * int(0.4 * entry.length)] * 2 + [2 * int(0.4 * left)] * 4
    whole = tiny(name, "eager")
    layers, mask = decoder_layers(whole), given["attention_mask"]
    dropped = dropped_from(given, [entry.kept for entry in pruned])
    with masked(layers, 2, dropped), hiding(layers, [(list(evicted), mask)], [mask.shape[1]]):
        wanted = generated(whole, given, past_key_values=DynamicCache())
    worst_error = generated_error(found, wanted)
    note(name, "with prune", worst_error)
    assert worst_error < TOLERANCE
