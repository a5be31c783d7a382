"""Caches that were pruned: continued, cropped, reordered, copied, reset, misused."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import Cache, DynamicCache, EncoderDecoderCache, StaticCache

from headrouter_core.errors import PruningError
from headrouter_core.pruning.context import prune

from ...checking.exactness import TOLERANCE, dropped_from, omni_step
from ...checking.guarded import ONE, THREE, fixture_model, refused
from ...checking.masked import error, masked
from ...checking.probes import Affinity, Scattered
from ...tiny import families as tiny_families
from ...tiny.families import decoder_layers
from ...tiny.models import batch, row, thinker

model = fixture_model
GREEDY = {"max_new_tokens": 3, "do_sample": False}


def pruned_cache(model: Any, **options: Any) -> Any:
    with torch.no_grad(), prune(model, Scattered(), 0.6, 2):
        return model(**batch(ONE), use_cache=True, **options).past_key_values


@torch.no_grad()
def test_audio_in_a_later_turn_of_which_nothing_has_to_go(model: Any) -> None:
    ids = torch.tensor([row("text first")])
    turn = torch.tensor([row(20, "now?")])

    def run() -> torch.Tensor:
        cache = model(input_ids=ids, use_cache=True).past_key_values
        return model(input_ids=turn, past_key_values=cache).logits

    plain = run()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with prune(model, Affinity(), 0):
            assert torch.equal(run(), plain)


@torch.no_grad()
def test_a_cache_from_before_the_context_goes_on_untouched(model: Any) -> None:
    inputs = batch(ONE)
    turn = torch.tensor([[5, 6, 7]])
    cache = model(**inputs, use_cache=True).past_key_values
    wanted = model(input_ids=turn, past_key_values=copy.deepcopy(cache)).logits
    with pytest.warns(UserWarning, match="no audio was seen"), prune(model, Affinity(), 0.6):
        found = model(input_ids=turn, past_key_values=cache).logits
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("copied", [False, True])
def test_a_pruned_cache_is_of_no_use_outside(model: Any, size: int, copied: bool) -> None:
    cache = pruned_cache(model)
    if copied:
        cache = copy.deepcopy(cache)
    with pytest.raises(PruningError, match="this cache was pruned"):
        model(input_ids=torch.full((1, size), 5), past_key_values=cache)


def test_a_second_turn_outside(model: Any) -> None:
    with prune(model, Scattered(), 0.6, 2):
        first = model.generate(**batch(ONE), **GREEDY, return_dict_in_generate=True)
    turn = torch.cat([first.sequences, torch.tensor([[5, 6, 7]])], 1)
    with pytest.raises(PruningError, match="continue inside `with prune"):
        model.generate(turn, **GREEDY, past_key_values=first.past_key_values)


@pytest.mark.parametrize(("layer", "rows"), [(3, 1), (2, 2)])
def test_a_pruned_cache_goes_with_its_layer_and_rows(model: Any, layer: int, rows: int) -> None:
    cache = pruned_cache(model)
    with refused(f"but this is layer {layer} with {rows} rows", model, Affinity(), 0.6, layer):
        model(input_ids=torch.full((rows, 1), 5), past_key_values=cache)


@pytest.mark.parametrize(
    "make",
    [
        lambda model: DynamicCache(),
        lambda model: StaticCache(model.config.get_text_config(), max_cache_len=60),
    ],
)
@torch.no_grad()
def test_a_reset_cache_is_as_new(model: Any, make: Callable[[Any], Cache]) -> None:
    cache, wanted = make(model), model(**batch(ONE), past_key_values=make(model)).logits
    kind = type(cache)
    assert pruned_cache(model, past_key_values=cache) is cache
    assert type(cache) is not kind
    assert isinstance(cache, kind)
    cache.reset()
    assert type(cache) is kind
    assert torch.equal(model(**batch(ONE), past_key_values=cache).logits, wanted)


@torch.no_grad()
def test_rows_of_a_pruned_cache_can_be_chosen_and_repeated(model: Any) -> None:
    token, inputs = torch.tensor([[5], [6], [7]]), batch(THREE)
    order = torch.tensor([2, 0, 1])

    def grown(mask: torch.Tensor) -> torch.Tensor:
        return torch.cat([mask, torch.ones(len(mask), 1, dtype=torch.long)], 1)

    with prune(model, Scattered(), 0.6):
        cache = model(**inputs, use_cache=True).past_key_values
        mask = grown(inputs["attention_mask"])
        chosen, repeated = copy.deepcopy(cache), copy.deepcopy(cache)
        beams = copy.deepcopy(cache)
        wanted = model(**omni_step(token, mask), past_key_values=cache).logits
        chosen.batch_select_indices(order)
        beams.reorder_cache(order)
        for each in (chosen, beams):
            found = model(**omni_step(token[order], mask[order]), past_key_values=each).logits
            assert torch.equal(found, wanted[order])
        repeated.batch_repeat_interleave(2)
        twice = torch.arange(3).repeat_interleave(2)
        found = model(**omni_step(token[twice], mask[twice]), past_key_values=repeated).logits
        assert torch.allclose(found, wanted[twice], atol=1e-5)


@torch.no_grad()
def test_cropping_a_pruned_cache(model: Any) -> None:
    inputs = batch(ONE)
    tail = inputs["input_ids"][:, -4:]
    with prune(model, Scattered(), 0.6):
        wanted = model(**inputs).logits[:, -4:]
    with prune(model, Scattered(), 0.6):
        cache = model(**inputs, use_cache=True).past_key_values
        model(input_ids=torch.tensor([[5, 6]]), past_key_values=cache)
        cache.crop(-6)  # both, and the last four of the prompt
        again = model(input_ids=tail, past_key_values=cache).logits
        assert torch.allclose(again, wanted, atol=1e-5)
        cache.crop(cache.get_seq_length() - 1)  # as older versions say it: what is to be left
        last = model(input_ids=tail[:, -1:], past_key_values=cache).logits
        assert torch.allclose(last, wanted[:, -1:], atol=1e-5)
        with pytest.raises(PruningError, match="or nothing"):
            cache.crop(-1000)


@torch.no_grad()
def test_cropping_into_the_audio(model: Any) -> None:
    inputs, step = batch(ONE), torch.tensor([[5, 6]])
    left = inputs["input_ids"].shape[1] - 18  # eight audio tokens
    with prune(model, Scattered(), 0.6) as trace:
        cache = model(**inputs, use_cache=True).past_key_values
        cache.crop(cache.get_seq_length() + 5)  # more than there is
        cache.crop(-18)
        found = model(input_ids=step, past_key_values=cache).logits
    reference = thinker("eager")
    dropped = dropped_from(inputs, [trace[0].kept])
    with masked(decoder_layers(reference), 2, dropped):
        cache = reference(**inputs, past_key_values=DynamicCache()).past_key_values
    cache.crop(-18)
    with masked(decoder_layers(reference), 2, dropped[:, :left]):
        wanted = reference(input_ids=step, past_key_values=cache).logits
    assert error(found, wanted) < TOLERANCE


@torch.no_grad()
def test_cropping_rows_that_kept_different_tokens(model: Any) -> None:
    inputs = batch([row("s", 20, "question?"), row("s", 9, "why, in all of this?")])
    with prune(model, Scattered(), 0.6):
        cache = model(**inputs, use_cache=True).past_key_values
        length = cache.get_seq_length()
        with pytest.raises(PruningError, match="rows of different lengths"):
            cache.crop(-20)
        cache.crop(-2)
    assert cache.get_seq_length() == length - 2


@torch.no_grad()
def test_cropping_a_padded_batch(model: Any) -> None:
    inputs = batch(THREE)
    mask = torch.cat([inputs["attention_mask"], torch.ones(3, 2, dtype=torch.long)], 1)
    drafted, given = torch.full((3, 2), 5), torch.tensor([[7, 8], [9, 10], [11, 12]])
    with prune(model, Scattered(), 0.6):
        cache = model(**inputs, use_cache=True).past_key_values
        cropped = copy.deepcopy(cache)
        model(**omni_step(drafted, mask), past_key_values=cropped)
        cropped.crop(-2)
        mask[1, -2] = 0  # turns of different lengths
        wanted = model(**omni_step(given, mask), past_key_values=cache).logits
        found = model(**omni_step(given, mask), past_key_values=cropped).logits
    assert torch.equal(found, wanted)


def test_chunked_prefill() -> None:
    model = tiny_families.with_audio(tiny_families.build("voxtral"))
    inputs = {k: v for k, v in batch(ONE).items() if k in ("input_ids", "attention_mask")}
    for size in (4, 16, 30):  # before, inside and behind the audio
        with refused("prefill_chunk_size", model, Affinity(), 0.6):
            model.generate(**inputs, **GREEDY, prefill_chunk_size=size)
    plain = model.generate(**inputs, **GREEDY, prefill_chunk_size=16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with prune(model, Scattered(), 0):
            assert torch.equal(model.generate(**inputs, **GREEDY, prefill_chunk_size=16), plain)


def test_guidance_by_a_second_prompt_is_a_prompt_of_its_own() -> None:
    model = tiny_families.with_audio(tiny_families.build("voxtral"))
    inputs = {k: v for k, v in batch(ONE).items() if k in ("input_ids", "attention_mask")}
    with prune(model, Affinity(), 0.6) as trace:
        model.generate(**inputs, **GREEDY, guidance_scale=1.5)
    assert [entry.audio_tokens for entry in trace] == [20, 0]


@pytest.mark.parametrize("cache", [(), [], EncoderDecoderCache(DynamicCache(), DynamicCache())])
def test_what_is_no_cache_of_a_decoder(model: Any, cache: Any) -> None:
    with refused(f"the cache is a {type(cache).__name__}, which", model, Scattered(), 0.6):
        model(**batch(ONE), past_key_values=cache)


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda config: DynamicCache(), r"of the cache, DynamicCache, holds \d+ tokens instead of"),
        (
            lambda config: StaticCache(config, 100),
            "layer 2 of the cache held 0 tokens and the first",
        ),
    ],
)
@torch.no_grad()
def test_a_cache_whose_first_layers_hold_a_prompt_that_was_refused(
    model: Any, make: Any, found: str
) -> None:
    cache = make(model.config.get_text_config())
    question = {"input_ids": torch.tensor(ONE), "past_key_values": cache, "use_cache": True}
    with refused(found, model, Affinity(text_tokens="after"), 0.6):
        with pytest.raises(PruningError, match="none after the audio"):
            model(**{**question, "input_ids": torch.tensor([row("system", 20)])[:, :-1]})
        model(**question)
