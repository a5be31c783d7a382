"""Audio behind a cache that is not empty: a cached system prompt, and later turns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import Cache, DynamicCache, StaticCache

from headrouter_core.pruning.context import prune

from ...checking.exactness import TOLERANCE, generated_error
from ...checking.masked import error, masked
from ...checking.matrix import FAMILIES, made, reference, step_of, tiny
from ...checking.probes import Affinity, Scattered
from ...checking.turns import Conversation, masked_turns, pruned_turns
from ...tiny.models import AUDIO, batch, row

each_family = pytest.mark.parametrize("name", FAMILIES)

#: A cached text, audio, a question in text, audio again: rows of different lengths, some without.
TURNS = [
    [row("system"), row("sys"), row("s")],
    [row("and", 20, "question?"), row("s", 9, "why"), row("only text")],
    [row("x"), row("y"), row("z")],
    [row("so", 8, "then", seed=3), row("text again"), row(14, "which of them?", seed=4)],
]


def conversation(name: str, turns: Any = TURNS, side: str = "left") -> Conversation:
    return Conversation.of([made(name, rows, side) for rows in turns])


def check(name: str, attention: str, talk: Conversation, cache: Any, **more: Any) -> None:
    """Hold a pruned conversation against the masked one."""
    selectors, layer = more.get("selectors", [(Scattered(), 0.6)]), more.get("layer", 2)
    model, step = tiny(name, attention), step_of(name)
    found, dropped = pruned_turns(model, talk, selectors, layer, step, cache(model))
    assert dropped.any()
    wanted = masked_turns(*reference(name), talk, dropped, layer, step)
    worst = [error(one, other) for one, other in zip(found, wanted, strict=True)]
    assert max(worst) < TOLERANCE, worst


def dynamic(model: Any) -> Cache:
    return DynamicCache(config=model.config.get_text_config())


def static(model: Any) -> Cache:
    return StaticCache(model.config.get_text_config(), max_cache_len=110)


@each_family
def test_conversations_of_every_family(name: str) -> None:
    check(name, "sdpa", conversation(name), dynamic)


@pytest.mark.parametrize("cache", [static, lambda model: DynamicCache()])
@pytest.mark.parametrize(
    ("name", "attention"), [("qwen2_5_omni", "sdpa"), ("gemma4", "sdpa"), ("muse_spark", "eager")]
)
def test_caches(name: str, attention: str, cache: Callable[[Any], Cache]) -> None:
    check(name, attention, conversation(name), cache)


@pytest.mark.parametrize(("side", "layer"), [("left", 1), ("right", 3), ("right", 5)])
@pytest.mark.parametrize("name", ["voxtral", "gemma3n"])
def test_layers_and_sides(name: str, side: str, layer: int) -> None:
    check(name, "eager", conversation(name, side=side), dynamic, layer=layer)


def test_every_turn_in_a_context_of_its_own() -> None:
    contexts = [(Scattered(), 0.6), (Affinity(), 0.3), (Scattered(), 0.9)]
    turns = [TURNS[1], *TURNS[3:]]
    check("voxtral", "sdpa", conversation("voxtral", turns), dynamic, selectors=contexts)


def test_a_turn_of_which_nothing_has_to_go() -> None:
    contexts = [(Scattered(), 0.6), (Affinity(), 0)]
    turns = [TURNS[1], *TURNS[3:]]
    check("voxtral", "sdpa", conversation("voxtral", turns), dynamic, selectors=contexts)


@torch.no_grad()
def test_one_entry_a_row_for_each_turn_that_brings_audio() -> None:
    model, talk = tiny("voxtral", "sdpa"), conversation("voxtral")
    cache = dynamic(model)
    with prune(model, Affinity(), 0.6) as trace:
        for turn in talk.turns:
            model(**turn.call(step_of("voxtral")), past_key_values=cache, use_cache=True)
    assert [entry.audio_tokens for entry in trace] == [0, 0, 0, 20, 9, 0, 8, 0, 14]
    lengths = [
        int(n) for turn in (0, 1, 3) for n in talk.turns[turn].inputs["attention_mask"].sum(1)
    ]
    assert [entry.prompt_length for entry in trace] == lengths


OPTIONS: Any = {
    "max_new_tokens": 3,
    "do_sample": False,
    "return_dict_in_generate": True,
    "output_logits": True,
}


def spoken(model: Any, cache: Any, *, whole: bool) -> list[Any]:
    """Generate behind a prompt with audio, and behind a second one on its cache."""
    rows = [row("system", 20, "question?"), row("s", 9, "why")]
    first = batch(rows)
    one = model.generate(**first, **OPTIONS, past_key_values=cache)
    second = batch([row("so", 8, "then"), row("text")], seed=2)
    new = torch.ones(2, 3, dtype=torch.long)
    mask = torch.cat([first["attention_mask"], new, second["attention_mask"]], 1)
    ids = torch.cat([one.sequences, second["input_ids"]], 1)
    # the last token that was generated is not in the cache yet
    behind = ids if whole else ids[:, one.past_key_values.get_seq_length() :]
    turn = {**second, "input_ids": behind, "attention_mask": mask}
    two = model.generate(**turn, **OPTIONS, past_key_values=one.past_key_values)
    return [ids, one, two]


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("make", [lambda m: DynamicCache(), static])
def test_generate_behind_a_pruned_cache(make: Callable[[Any], Cache], whole: bool) -> None:
    """``generate`` takes the whole conversation, or what is new and a mask over all of it."""
    model, (whole_model, layers) = tiny("qwen2_5_omni", "sdpa"), reference("qwen2_5_omni")
    with prune(model, Affinity(), 0.6) as trace:
        ids, *found = spoken(model, make(model), whole=whole)
    assert [entry.audio_tokens for entry in trace] == [20, 9, 8, 0]
    dropped = torch.zeros_like(ids, dtype=torch.bool)
    for index, chosen in enumerate([[trace[0], trace[2]], [trace[1], trace[3]]]):
        columns, before = (ids[index] == AUDIO).nonzero()[:, 0], 0
        for entry in chosen:
            own = columns[before : before + entry.audio_tokens]
            before += entry.audio_tokens
            dropped[index, own] = True
            dropped[index, own[entry.kept]] = False
    with masked(layers, 2, dropped):
        again, *wanted = spoken(whole_model, DynamicCache(), whole=whole)
    assert torch.equal(ids, again)
    for one, other in zip(found, wanted, strict=True):
        assert generated_error(one, other) < TOLERANCE
