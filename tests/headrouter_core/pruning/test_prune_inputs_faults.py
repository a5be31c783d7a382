"""What can go wrong with pruned embeddings works exactly or says what to do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers.modeling_flash_attention_utils import _is_packed_sequence

from headrouter_core import prune, prune_inputs
from headrouter_core.errors import (
    PruningError,
    SelectionError,
    UnsupportedModelError,
    UsageError,
)
from headrouter_core.families.discovery import find_decoder
from headrouter_core.selectors.base import Selection

from ..checking.probes import Affinity, Merging, Scattered
from ..tiny import models as tiny_models
from ..tiny.families import build, decoder_layers
from ..tiny.models import batch, row
from .whole_models import BY_TOKEN, inputs, model, positions


@pytest.mark.parametrize("name", BY_TOKEN)
def test_embeddings_that_are_not_the_whole_prompt(name: str) -> None:
    with pytest.raises(UnsupportedModelError, match=f"{name} look up per_layer_input by token id"):
        prune_inputs(build(name), inputs(name, "one"), Scattered(), 0.6)


def test_sliding_windows_shorter_than_the_prompt() -> None:
    narrow, given = build("gemma4_unified"), inputs("gemma4_unified", "one")
    with pytest.raises(PruningError, match=r"has 49 tokens, with new ones 49, and some .* see 9"):
        prune_inputs(narrow, given, Scattered(), 0.6, max_new_tokens=0)
    assert prune_inputs(narrow, given, Scattered(), 0)["inputs_embeds"].shape[1] == 49


def test_only_layers_before_the_pruning_layer_run() -> None:
    whole, ran = tiny_models.thinker(), []
    for index, layer in enumerate(decoder_layers(whole)):
        layer.register_forward_hook(lambda *_, index=index: ran.append(index))
    prune_inputs(whole, inputs("qwen2_5_omni", "one"), Affinity(), 0.6, 3)
    assert ran == [0, 1, 2]


@pytest.mark.parametrize("wrong", [None, SelectionError, KeyboardInterrupt])
def test_no_hook_stays_behind(wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tiny_models.thinker()
    before = [(m._forward_hooks.copy(), m._forward_pre_hooks.copy()) for m in whole.modules()]
    given = inputs("qwen2_5_omni", "one")
    if wrong is None:
        prune_inputs(whole, given, Affinity(), 0.6)
    elif wrong is SelectionError:
        monkeypatch.setattr(Affinity, "__call__", lambda s, v, k: Selection(torch.arange(k + 1)))
        with pytest.raises(SelectionError):
            prune_inputs(whole, given, Affinity(), 0.6)
    else:

        def interrupt(*_: Any) -> None:
            raise KeyboardInterrupt

        handle = decoder_layers(whole)[1].register_forward_pre_hook(interrupt)
        with pytest.raises(KeyboardInterrupt):
            prune_inputs(whole, given, Affinity(), 0.6)
        handle.remove()
    after = [(m._forward_hooks, m._forward_pre_hooks) for m in whole.modules()]
    assert before == after
    with prune(whole, Scattered(), 0.6):  # and the model is free again
        whole(**given)


def test_positions_of_the_caller_are_kept() -> None:
    whole, given = model("qwen2_audio", "sdpa"), inputs("qwen2_audio", "one")
    counted = positions("qwen2_audio", given["attention_mask"])
    plain = prune_inputs(whole, given, Scattered(), 0.6)
    moved = prune_inputs(whole, {**given, "position_ids": counted + 7}, Scattered(), 0.6)
    assert torch.equal(moved["position_ids"], plain["position_ids"] + 7)


def test_thinker_inside_a_full_model() -> None:
    full, given = tiny_models.full(), inputs("qwen2_5_omni", "one")
    ours = prune_inputs(full, given, Affinity(), 0.6)
    theirs = prune_inputs(full.thinker, given, Affinity(), 0.6)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_compiled_layers_are_seen_through() -> None:
    whole, given = tiny_models.thinker(num_hidden_layers=3), inputs("qwen2_5_omni", "one")
    plain = prune_inputs(whole, given, Affinity(), 0.6)
    layers = find_decoder(whole).layers
    layers[1].compile(backend="eager")
    layers[2] = torch.compile(layers[2], backend="eager")
    try:
        with torch.no_grad():
            whole(**given)  # compiled without hooks
        again = prune_inputs(whole, given, Affinity(), 0.6)
        assert all(torch.equal(again[key], plain[key]) for key in plain)
    finally:
        torch._dynamo.reset()


def test_stale_graphs_are_noticed() -> None:
    whole, given = tiny_models.thinker(), inputs("qwen2_5_omni", "one")
    layer = decoder_layers(whole)[2]
    layer._compiled_call_impl = layer.forward
    with pytest.raises(PruningError, match=r"layer 2 was not reached: .* compiled graph"):
        prune_inputs(whole, given, Affinity(), 0.6, 2)


def test_what_cannot_be_done_is_refused() -> None:
    whole, given = model("qwen2_5_omni", "sdpa"), inputs("qwen2_5_omni", "one")
    with pytest.raises(UsageError, match="takes whole prompts without"):
        prune_inputs(whole, {**given, "past_key_values": object()}, Scattered(), 0.6)
    with pytest.raises(UsageError, match="merging replaces states of the pruning layer"):
        prune_inputs(whole, given, Merging(), 0.6)
    with pytest.raises(UsageError, match="layer 6 is outside"):
        prune_inputs(whole, given, Scattered(), 0.6, 6)
    with pytest.raises(UsageError, match="ratio"):
        prune_inputs(whole, given, Scattered(), 1.0)
    with prune(whole, Scattered(), 0.6):
        whole(**given)
        with pytest.raises(UsageError, match="being pruned already"):
            prune_inputs(whole, given, Scattered(), 0.6)


def test_text_alone_is_passed_on_with_a_warning() -> None:
    whole, given = model("qwen2_audio", "sdpa"), batch([row("only text")])
    with pytest.warns(UserWarning, match="no audio was seen in the inputs") as caught:
        pruned = prune_inputs(whole, given, Affinity(), 0.6)
    assert caught[0].filename == __file__
    assert pruned["inputs_embeds"].shape[1] == 9


def test_flash_attention_of_transformers_is_warned_of() -> None:
    whole, given = build("qwen2_audio"), inputs("qwen2_audio", "one")
    first = decoder_layers(whole)[0]

    def pretend(*_: Any) -> None:  # no flash kernel runs here, and none behind layer 0 is needed
        first.self_attn.config._attn_implementation = "flash_attention_2"

    first.register_forward_hook(pretend)
    with pytest.warns(UserWarning, match="takes a single row whose positions have gaps") as caught:
        pruned = prune_inputs(whole, given, Scattered(), 0.6, 1)
    assert caught[0].filename == __file__
    assert _is_packed_sequence(pruned["position_ids"], 1)
