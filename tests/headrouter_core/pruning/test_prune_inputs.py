"""Pruned embeddings equal a full-length run in which no layer sees the dropped tokens."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import nn
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

from .. import tiny_models
from ..exactness import TOLERANCE, shown_logits
from ..masked import dropped_columns, error, masked
from ..probes import Affinity, Merging, Scattered
from ..tiny_families import BUILDERS, TEXT, attend, build, decoder_layers
from ..tiny_models import AUDIO, batch, row

#: Layers of these look up something by token id beside the embedding.
BY_TOKEN = ("gemma3n", "gemma4")
#: ``generate`` of these takes no embeddings; their forward does.
STEPPED = ("vibevoice_asr", "gemma4_unified")
FAMILIES = ["qwen2_5_omni", *(name for name in BUILDERS if name not in BY_TOKEN)]
ROWS = {
    "one": [row("system", 11, "and then", 14, "which?")],
    "three": [row("system", 20, "question?"), row("s", 9, "why"), row("only text")],
}

each_family = pytest.mark.parametrize("name", FAMILIES)
each_attention = pytest.mark.parametrize("attention", ["eager", "sdpa"])
each_prompt = pytest.mark.parametrize(
    ("rows", "side"), [("one", "left"), ("three", "left"), ("three", "right")]
)


@functools.cache
def model(name: str, attention: str) -> nn.Module:
    if name == "qwen2_5_omni":
        return tiny_models.thinker(attention)
    return widened(with_audio(attend(build(name), attention)))


def with_audio(whole: nn.Module) -> nn.Module:
    """Put audio where embeddings are, as front ends do."""
    ids: list[torch.Tensor] = []
    states = torch.randn(64, TEXT["hidden_size"], generator=torch.Generator().manual_seed(7))

    def see(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        ids[:] = [args[0] if args else kwargs.get("input_ids")]

    def put(module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        if ids[0] is None:
            return output
        rows, columns = (ids[0] == AUDIO).nonzero(as_tuple=True)
        output = output.clone()
        output[rows, columns] += states[columns]
        return output

    whole.register_forward_pre_hook(see, with_kwargs=True)
    whole.get_input_embeddings().register_forward_hook(put)
    return whole


def widened(whole: nn.Module) -> nn.Module:
    """Make sliding windows reach further than prompts are long."""
    for layer in decoder_layers(whole):
        for holder in (layer.self_attn, layer.self_attn.config):
            if getattr(holder, "sliding_window", None):
                holder.sliding_window = 64
    return whole


def inputs(name: str, rows: str, side: str = "left") -> dict[str, torch.Tensor]:
    made = batch(ROWS[rows], side)
    if name != "qwen2_5_omni":
        made = {key: made[key] for key in ("input_ids", "attention_mask")}
    return made


def positions(name: str, mask: torch.Tensor) -> torch.Tensor:
    counted = (mask.cumsum(1) - 1).clamp(min=0)
    return counted.expand(3, -1, -1) if "omni" in name else counted


def dropped_by(given: dict[str, torch.Tensor], trace: Any) -> torch.Tensor:
    kept = [entry.kept for entry in trace]
    return dropped_columns(given["input_ids"], given["attention_mask"], AUDIO, kept)


@each_family
@each_attention
@each_prompt
@pytest.mark.parametrize("ratio", [0.3, 0.9])
@torch.no_grad()
def test_prompt_and_given_steps(
    name: str, attention: str, rows: str, side: str, ratio: float
) -> None:
    whole, reference = model(name, attention), model(name, "eager")
    given = inputs(name, rows, side)
    mask = given["attention_mask"]
    pruned = prune_inputs(whole, given, Scattered(), ratio, max_new_tokens=5)
    dropped = dropped_by(given, pruned.trace)
    assert dropped.any()
    shown = mask.bool() & ~dropped

    found = whole(**pruned, use_cache=True)
    steps = forced(name, whole, found.past_key_values, mask, pruned["attention_mask"])
    with masked(decoder_layers(reference), 0, dropped):
        wanted = reference(**given, position_ids=positions(name, mask), use_cache=True)
        right = forced(name, reference, wanted.past_key_values, mask, mask)
    assert error(shown_logits(found.logits, shown), wanted.logits[shown]) < TOLERANCE
    for ours, theirs in zip(steps, right, strict=True):
        assert error(ours, theirs) < TOLERANCE


def forced(
    name: str, of: nn.Module, cache: Any, whole: torch.Tensor, held: torch.Tensor
) -> list[torch.Tensor]:
    """Return the logits of 1 and 3 given tokens: positions go on from the whole prompt's mask."""
    given = torch.randint(2, 80, (len(whole), 4), generator=torch.Generator().manual_seed(1))
    logits = []
    for chunk in given.split([1, 3], dim=1):
        whole, held = (torch.cat([mask, torch.ones_like(chunk)], 1) for mask in (whole, held))
        later = positions(name, whole)[..., -chunk.shape[1] :]
        step = {"input_ids": chunk, "attention_mask": held, "position_ids": later}
        logits.append(of(**step, past_key_values=cache, use_cache=True).logits)
    return logits


@each_family
@pytest.mark.parametrize("rows", ROWS)
@torch.no_grad()
def test_generate(name: str, rows: str) -> None:
    whole, reference = model(name, "sdpa"), model(name, "eager")
    given = inputs(name, rows)
    options: dict[str, Any] = {
        "max_new_tokens": 5,
        "do_sample": False,
        "return_dict_in_generate": True,
        "output_logits": True,
    }
    pruned = prune_inputs(whole, given, Affinity(), 0.6, max_new_tokens=5)
    if name in STEPPED:
        with pytest.raises(ValueError, match="doesn't have its forwarding implemented"):
            whole.generate(**pruned, **options)
        return
    found = whole.generate(**pruned, **options)
    with masked(decoder_layers(reference), 0, dropped_by(given, pruned.trace)):
        wanted = reference.generate(**given, **options)
    assert torch.equal(found.sequences, wanted.sequences[:, given["input_ids"].shape[1] :])
    for ours, theirs in zip(found.logits, wanted.logits, strict=True):
        assert error(ours, theirs) < TOLERANCE


@each_family
@pytest.mark.parametrize("layer", [1, 3])
@torch.no_grad()
def test_the_choice_is_that_of_prune(name: str, layer: int) -> None:
    whole, given = model(name, "sdpa"), inputs(name, "three")
    pruned = prune_inputs(whole, given, Affinity(), 0.6, layer, max_new_tokens=0)
    with prune(whole, Affinity(), 0.6, layer) as trace:
        whole(**given)
    for ours, theirs in zip(pruned.trace, trace, strict=True):
        assert torch.equal(ours.kept, theirs.kept)
        assert (ours.audio_tokens, ours.prompt_length) == (
            theirs.audio_tokens,
            theirs.prompt_length,
        )
        if theirs.importance is not None:
            assert torch.equal(ours.importance, theirs.importance)


@each_family
@pytest.mark.parametrize("rows", ROWS)
@torch.no_grad()
def test_ratio_zero_is_the_whole_prompt(name: str, rows: str) -> None:
    whole, given = model(name, "sdpa"), inputs(name, rows)
    pruned = prune_inputs(whole, given, Affinity(), 0)
    assert torch.equal(pruned["attention_mask"], given["attention_mask"])
    real = given["attention_mask"].bool()
    wanted = positions(name, given["attention_mask"])
    assert torch.equal(pruned["position_ids"].long()[..., real], wanted[..., real])
    plain = whole(**given, position_ids=wanted).logits[real]
    assert error(whole(**pruned).logits[real], plain) < 1e-6


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
