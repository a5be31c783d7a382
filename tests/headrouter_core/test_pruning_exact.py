"""The pruned model equals a full-length one whose later layers cannot see the dropped tokens."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from transformers import DynamicCache, StaticCache

from headrouter_core.pruning import prune
from headrouter_core.scoring import keep_count

from .exactness import TOLERANCE, forced_error, generated_error, omni_step
from .masked import dropped_columns, error, masked
from .probes import Affinity, Merging, Scattered, scattered
from .tiny_models import AUDIO, batch, row, thinker

PROMPTS = {
    "one": ([row("system", 20, "question?")], "left"),
    "two audios": ([row("system", 11, "and then", 14, "which?")], "left"),
    "left": ([row("system", 20, "question?"), row("s", 9, "why"), row("only text")], "left"),
    "right": ([row("system", 20, "question?"), row("s", 9, "why"), row("only text")], "right"),
}
WINDOWED = {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 3}

each_attention = pytest.mark.parametrize("attention", ["eager", "sdpa"])
each_prompt = pytest.mark.parametrize("prompt", PROMPTS)


@functools.cache
def model(attention: str, **text: Any) -> torch.nn.Module:
    return thinker(attention, **text)


def pair(attention: str, **text: Any) -> tuple[Any, Any, Any]:
    """Return the model, the reference, and the reference's layers."""
    reference = model("eager", **text)
    return model(attention, **text), reference, reference.model.language_model.layers


def prompt_inputs(prompt: str) -> dict[str, torch.Tensor]:
    return batch(*PROMPTS[prompt])


@each_attention
@each_prompt
@pytest.mark.parametrize("ratio", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("layer", [1, 2, 3, 5])
def test_prefill_and_given_steps(attention: str, prompt: str, ratio: float, layer: int) -> None:
    worst = forced_error(
        *pair(attention), prompt_inputs(prompt), Scattered(), ratio, layer, AUDIO, omni_step
    )
    assert worst < TOLERANCE


@each_attention
@each_prompt
@torch.no_grad()
def test_ratio_zero_changes_no_bit(attention: str, prompt: str) -> None:
    plain, inputs = model(attention), prompt_inputs(prompt)
    options = {"max_new_tokens": 4, "do_sample": False}
    logits, ids = plain(**inputs).logits, plain.generate(**inputs, **options)
    with prune(plain, Affinity(), 0) as trace:
        assert torch.equal(plain(**inputs).logits, logits)
        assert torch.equal(plain.generate(**inputs, **options), ids)
    for entry in trace:
        assert entry.kept.tolist() == list(range(entry.audio_tokens))
        assert (entry.importance is None) == (entry.audio_tokens == 0)


GENERATE: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sampling": {"do_sample": True, "num_return_sequences": 3},
    "beams": {"num_beams": 3, "num_return_sequences": 2},
    "no cache": {"use_cache": False},
    "no cache, beams": {"use_cache": False, "num_beams": 2},
    "dynamic": {"past_key_values": lambda m: DynamicCache()},
    "dynamic, configured": {"past_key_values": lambda m: DynamicCache(config=m.config)},
    "static": {"cache_implementation": "static"},
    "static, own": {
        "past_key_values": lambda m: StaticCache(m.config.get_text_config(), max_cache_len=60)
    },
}


@each_attention
@pytest.mark.parametrize("prompt", ["one", "left"])
@pytest.mark.parametrize("mode", GENERATE)
def test_generate(attention: str, prompt: str, mode: str) -> None:
    inputs = prompt_inputs(prompt)
    worst, trace = generated_error(
        *pair(attention), inputs, Affinity(), 0.6, 2, AUDIO, **GENERATE[mode]
    )
    assert worst < TOLERANCE
    assert len(trace) == len(inputs["input_ids"])  # beams and return sequences share an entry


@each_attention
@pytest.mark.parametrize("text", [{}, WINDOWED])
def test_prompt_lookup_rolls_the_cache_back(
    attention: str, text: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cropped: list[int] = []
    crop = DynamicCache.crop
    monkeypatch.setattr(DynamicCache, "crop", lambda s, n: (cropped.append(n), crop(s, n))[1])
    ids = [*row("system", 20), *[7, 8, 9, 7, 8, 9, 7, 8]]  # so that there is something to look up
    worst, trace = generated_error(
        *pair(attention, **text),
        batch([ids]),
        Affinity(),
        0.6,
        2,
        AUDIO,
        prompt_lookup_num_tokens=3,
        max_new_tokens=12,
    )
    assert worst < TOLERANCE
    assert trace[0].prompt_length == len(ids)  # what was drafted is no prompt
    assert any(cropped)


@each_attention
@pytest.mark.parametrize("layer", [2, 4])
@pytest.mark.parametrize("prompt", ["one", "left"])
def test_sliding_windows_reach_as_far_as_before(attention: str, prompt: str, layer: int) -> None:
    models = pair(attention, **WINDOWED)
    inputs = prompt_inputs(prompt)
    worst = forced_error(*models, inputs, Scattered(), 0.6, layer, AUDIO, omni_step)
    assert worst < TOLERANCE


@each_attention
@pytest.mark.parametrize("mode", ["greedy", "static", "no cache", "dynamic"])
def test_sliding_windows_in_every_cache(attention: str, mode: str) -> None:
    models = pair(attention, **WINDOWED)
    options = {**GENERATE[mode], "max_new_tokens": 8}
    worst, _ = generated_error(
        *models, prompt_inputs("left"), Scattered(), 0.6, 2, AUDIO, **options
    )
    assert worst < TOLERANCE


@each_attention
@pytest.mark.parametrize("prompt", ["one", "two audios", "left", "right"])
@pytest.mark.parametrize("layer", [1, 3])
@torch.no_grad()
def test_merging_puts_states_in(attention: str, prompt: str, layer: int) -> None:
    pruned, reference, layers = pair(attention)
    inputs = prompt_inputs(prompt)
    entered: list[torch.Tensor] = []
    handle = layers[layer].register_forward_pre_hook(lambda _, args: entered.append(args[0]))
    reference(**inputs)
    handle.remove()
    with prune(pruned, Merging(), 0.6, layer) as trace:
        found = pruned(**inputs).logits

    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    states = {}
    for index, entry in enumerate(trace):
        columns = ((ids[index] == AUDIO) & mask[index].bool()).nonzero()[:, 0]
        hidden = entered[0][index, columns]
        for kept in entry.kept.tolist():
            states[index, int(columns[kept])] = hidden[kept] * 0.5 + hidden.mean(0)
    dropped = dropped_columns(ids, mask, AUDIO, [entry.kept for entry in trace])
    with masked(layers, layer, dropped, states):
        wanted = reference(**inputs).logits
    shown = mask.bool() & ~dropped
    rows = [found[b, found.shape[1] - n :] for b, n in enumerate(shown.sum(1).tolist())]
    assert error(torch.cat(rows), wanted[shown]) < TOLERANCE


@each_attention
@pytest.mark.parametrize("prompt", ["one", "left"])
@pytest.mark.parametrize("reopen", [False, True])
@torch.no_grad()
def test_second_turn_on_the_same_cache(attention: str, prompt: str, reopen: bool) -> None:
    pruned, reference, layers = pair(attention)
    inputs = prompt_inputs(prompt)
    options: dict[str, Any] = {
        "max_new_tokens": 5,
        "do_sample": False,
        "return_dict_in_generate": True,
        "output_logits": True,
    }

    def second(of: Any, first: Any) -> Any:
        rows = len(first.sequences)
        more = torch.arange(30, 34).expand(rows, -1)
        new = first.sequences.shape[1] + 4 - inputs["attention_mask"].shape[1]
        mask = torch.cat([inputs["attention_mask"], torch.ones(rows, new, dtype=torch.long)], 1)
        if rows > 1:
            mask[1, -4:-2] = 0  # turns of different lengths are padded in the middle
        ids = torch.cat([first.sequences, more], 1)
        cache = first.past_key_values
        return of.generate(ids, attention_mask=mask, past_key_values=cache, **options)

    with prune(pruned, Scattered(), 0.6, 2) as trace:
        first = pruned.generate(**inputs, **options)
        found = None if reopen else second(pruned, first)
    if reopen:
        with prune(pruned, Scattered(), 0.9, 2) as later:
            found = second(pruned, first)
        assert not later
    dropped = dropped_columns(
        inputs["input_ids"], inputs["attention_mask"], AUDIO, [entry.kept for entry in trace]
    )
    with masked(layers, 2, dropped):
        wanted = second(reference, reference.generate(**inputs, **options))
    assert torch.equal(found.sequences, wanted.sequences)
    for a, b in zip(found.logits, wanted.logits, strict=True):
        assert error(a, b) < TOLERANCE


@torch.no_grad()
def test_kept_tokens_are_those_of_the_selector_in_order() -> None:
    inputs = prompt_inputs("two audios")
    plain = model("sdpa")
    entered: list[torch.Tensor] = []
    with prune(plain, Scattered(), 0.6, 3) as trace:
        handle = plain.model.language_model.layers[3].register_forward_pre_hook(
            lambda _, args: entered.append(args[0])
        )
        plain(**inputs)
        handle.remove()
    whole: list[torch.Tensor] = []
    handle = plain.model.language_model.layers[3].register_forward_pre_hook(
        lambda _, args: whole.append(args[0])
    )
    plain(**inputs)
    handle.remove()
    audio = (inputs["input_ids"][0] == AUDIO).nonzero()[:, 0]
    kept = scattered(25, keep_count(25, 0.6), 0)
    assert torch.equal(trace[0].kept, kept)
    stay = torch.ones(inputs["input_ids"].shape[1], dtype=torch.bool)
    stay[audio] = False
    stay[audio[kept]] = True
    assert torch.equal(entered[0][0], whole[0][0, stay])


@each_attention
@pytest.mark.parametrize("prompt", ["left", "right"])
@torch.no_grad()
def test_what_is_at_padding_stays_out(attention: str, prompt: str) -> None:
    """Whatever early layers make of padding, NaN even, it does not get into the pruned prompt."""
    inputs, plain = prompt_inputs(prompt), model(attention)
    padding = inputs["attention_mask"] == 0

    def spoil(module: Any, args: Any) -> Any:
        return (args[0].masked_fill(padding[..., None], torch.nan), *args[1:])

    with prune(plain, Scattered(), 0.6, 2):
        wanted = plain(**inputs).logits
    handle = plain.model.language_model.layers[2].register_forward_pre_hook(spoil)
    with prune(plain, Scattered(), 0.6, 2):
        found = plain(**inputs).logits
    handle.remove()
    assert torch.equal(found, wanted)
