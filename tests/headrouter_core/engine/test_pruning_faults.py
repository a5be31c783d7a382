"""What can go wrong either works exactly or says what to do; the model is left as found."""

from __future__ import annotations

import types
import warnings
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
import transformers
from torch import nn

from headrouter_core import families
from headrouter_core.errors import (
    ProfileMismatchError,
    PruningError,
    SelectionError,
    UsageError,
)
from headrouter_core.profile.recipe import Recipe
from headrouter_core.pruning.context import prune
from headrouter_core.selectors import HeadRouter
from headrouter_core.selectors.base import Selection, View

from .. import tiny_families
from ..bundles import make_profile, make_tensors
from ..guarded import ONE, THREE, fixture_model, not_opened, refused
from ..probes import Affinity, Scattered
from ..tiny_families import decoder_layers
from ..tiny_models import batch, full, row, thinker

model = fixture_model
GREEDY = {"max_new_tokens": 3, "do_sample": False}


# --- what happens inside the block stays what it is


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("layer", [0, 1, 3])
def test_errors_inside_a_forward_come_out_unmasked(model: Any, kind: Any, layer: int) -> None:
    def fail(*_: Any) -> None:
        raise kind("mine")

    handle = decoder_layers(model)[layer].register_forward_pre_hook(fail)
    try:
        with refused("mine", model, Affinity(), 0.6, 2, kind=kind):
            model(**batch(ONE))
    finally:
        handle.remove()


def test_an_interrupt_inside_generate(model: Any) -> None:
    class Interrupt(transformers.LogitsProcessor):
        def __call__(self, ids: Any, scores: Any) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), prune(model, Affinity(), 0.6):
        model.generate(**batch(ONE), logits_processor=[Interrupt()])
    with refused("outside the forward", model, Affinity(), 0.6):  # nothing is left of before
        decoder_layers(model)[3](torch.zeros(1, 2, 64))


def test_an_error_that_was_caught_inside_shows_when_the_context_closes(model: Any) -> None:
    with (
        pytest.raises(PruningError, match="audio was seen, but nothing was pruned"),
        prune(model, Affinity(), 0.6),
        pytest.raises(PruningError, match="packed into one row"),
    ):
        model(**batch(ONE), cu_seq_lens_q=torch.tensor([0, 26, 41]))


def test_no_audio_warns_where_the_context_was_opened(model: Any) -> None:
    with (
        pytest.warns(UserWarning, match="no audio was seen") as caught,
        prune(model, Affinity(), 0.6),
    ):
        model(**batch([row("only text")]))
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with prune(model, Affinity(), 0):  # audio was seen, nothing had to go
            model(**batch(ONE))


# --- arguments


@pytest.mark.parametrize("layer", [0, 6, -1])
def test_layers_out_of_range(model: Any, layer: int) -> None:
    not_opened(
        rf"layer {layer} is outside \[1, 5\]", model, Affinity(), 0.6, layer, kind=UsageError
    )


@pytest.mark.parametrize("ratio", [1, -0.1, "much", float("nan")])
def test_ratios_out_of_range(model: Any, ratio: Any) -> None:
    not_opened("ratio", model, Affinity(), ratio, kind=UsageError)


def test_unknown_text_tokens(model: Any) -> None:
    not_opened("'before'", model, Affinity("before"), 0.6, kind=UsageError)


def test_profiles_are_held_against_the_model(model: Any) -> None:
    info = families.model_info(model, 3)
    fitting = make_profile(model=info, recipe=Recipe(layer=3))
    with prune(model, HeadRouter(fitting), 0.6):
        cache = model(**batch(ONE), use_cache=True).past_key_values
        lengths = [cache.get_seq_length(index) for index in range(6)]
    assert lengths == [len(ONE[0])] * 3 + [len(ONE[0]) - 12] * 3  # the profile's M

    not_opened("probe_layer", model, HeadRouter(fitting), 0.6, layer=2, kind=ProfileMismatchError)
    foreign = replace(fitting, model=replace(info, fingerprint="0" * 64))
    not_opened("fingerprint", model, HeadRouter(foreign), 0.6, kind=ProfileMismatchError)
    with (
        pytest.warns(UserWarning, match="fingerprint") as caught,
        prune(model, HeadRouter(foreign), 0.6, force=True),
    ):
        model(**batch(ONE))
    assert caught[0].filename == __file__
    long = replace(fitting, tensors=make_tensors(heads=8), model=replace(info, heads=8))
    for force in (False, True):  # eight weights cannot weigh four heads
        with (
            pytest.raises(ProfileMismatchError, match=r"weighs 8 heads and layer 2 of .* has 4"),
            prune(model, HeadRouter(long), 0.6, force=force),
        ):
            pytest.fail("opened")
    short = replace(fitting, recipe=replace(fitting.recipe, early_cache="pruned"))
    not_opened("early_cache", model, HeadRouter(short), 0.6, kind=UsageError)


@pytest.mark.parametrize(
    ("kept", "found"),
    [
        ([0, 1], r"torch.int64 tensor \[2\] instead of a LongTensor \[8\]"),
        ([0.0, 1, 2, 3, 4, 5, 6, 7], r"torch.float32"),
        ([0, 1, 2, 3, 4, 5, 7, 6], "ascending ones from 0 to 19"),
        ([0, 1, 2, 3, 4, 5, 6, 6], "ascending ones from 0 to 19"),
        ([-1, 1, 2, 3, 4, 5, 6, 7], "ascending ones from 0 to 19"),
        ([0, 1, 2, 3, 4, 5, 6, 20], "ascending ones from 0 to 19"),
    ],
)
def test_selectors_that_break_their_contract(model: Any, kept: list[Any], found: str) -> None:
    @dataclass(frozen=True)
    class Broken(Scattered):
        def __call__(self, view: View, k: int) -> Selection:
            return Selection(torch.tensor(kept))

    with refused(found, model, Broken(), 0.6, kind=SelectionError):
        model(**batch(ONE))


@pytest.mark.parametrize(
    ("field", "found"),
    [
        ("importance", r"importance .* \[3\] instead of a floating tensor \[20\]"),
        ("states", r"states .* \[3\] instead of a floating tensor \[8, 64\]"),
    ],
)
def test_selectors_that_return_another_length(model: Any, field: str, found: str) -> None:
    @dataclass(frozen=True)
    class Broken(Scattered):
        def __call__(self, view: View, k: int) -> Selection:
            return replace(super().__call__(view, k), **{field: torch.zeros(3)})

    with refused(found, model, Broken(), 0.6, kind=SelectionError):
        model(**batch(ONE))


def test_a_prompt_without_the_text_that_is_probed(model: Any) -> None:
    inputs = batch([row("system", 20)])
    with refused("there is none after the audio", model, Affinity("after"), 0.6):
        model(**inputs)
    with prune(model, Affinity("after"), 0) as trace:
        model(**inputs)
    assert trace[0].importance is None
    with refused("there is none;", model, Affinity(), 0.6):
        model(**batch([row(20)]))


# --- contexts


def test_an_own_generate_of_the_instance_is_put_back(model: Any) -> None:
    mine = model.generate
    model.generate = mine
    try:
        with prune(model, Affinity(), 0.6) as trace:
            model.generate(**batch(ONE), **GREEDY)
        assert len(trace) == 1
        assert model.generate is mine
    finally:
        del model.generate


# --- inputs


def test_embeddings_need_ids_beside_them(model: Any) -> None:
    inputs = batch(ONE)
    ids = inputs["input_ids"]
    embeds = model.get_input_embeddings()(ids).detach()
    with refused("inputs_embeds alone", model, Affinity(), 0.6):
        model(inputs_embeds=embeds)
    with refused("inputs_embeds alone", model, Affinity(), 0.6):
        model.generate(inputs_embeds=embeds, **GREEDY)
    with refused("inputs_embeds alone", model, Affinity(), 0.6):
        model.generate(ids[:, 1:], inputs_embeds=embeds, **GREEDY)
    beams = {**GREEDY, "num_beams": 2}
    with prune(model, Scattered(), 0.6) as trace:
        model.generate(ids, inputs_embeds=embeds, **beams)
        both = model(input_ids=ids, inputs_embeds=embeds)
        alone = model(input_ids=ids)
    assert len(trace) == 3
    assert both.logits.shape[1] == ids.shape[1] - 12
    assert both.logits.shape == alone.logits.shape


def test_outputs_by_columns_of_the_unpruned_prompt() -> None:
    model = tiny_families.with_audio(tiny_families.build("voxtral"))
    inputs = {k: v for k, v in batch(ONE).items() if k in ("input_ids", "attention_mask")}
    with prune(model, Scattered(), 0.6):
        assert model(**inputs, logits_to_keep=2).logits.shape[1] == 2
    with refused("logits_to_keep as a tensor", model, Scattered(), 0.6):
        model(**inputs, logits_to_keep=torch.tensor([0, 1]))


def test_packed_prompts(model: Any) -> None:
    ids = torch.tensor([row(20, "one?") + row(9, "two?")])
    with refused("packed into one row", model, Scattered(), 0.6):
        model(input_ids=ids, cu_seq_lens_q=torch.tensor([0, 26, 41]))


@torch.no_grad()
def test_masks_of_four_dimensions(model: Any) -> None:
    inputs = batch(THREE)
    two = inputs["attention_mask"].bool()
    length = two.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    four = (causal & two[:, None])[:, None]
    positions = (two.long().cumsum(1) - 1).clamp(min=0).expand(3, -1, -1)
    plain = {k: v for k, v in inputs.items() if k != "attention_mask"}
    with prune(model, Scattered(), 0.6):
        wanted = model(**inputs, position_ids=positions).logits
    with prune(model, Scattered(), 0.6):
        found = model(**plain, attention_mask=four, position_ids=positions).logits
    assert torch.equal(found, wanted)
    holed = four.clone()
    holed[0, 0, -1, 0] ^= True
    with refused("more than causal order", model, Scattered(), 0.6):
        model(**plain, attention_mask=holed, position_ids=positions)


def test_prompts_that_the_model_expands_itself() -> None:
    """Qwen2-Audio takes one placeholder a clip, from processors of old."""
    model = tiny_families.build("qwen2_audio")
    inputs = batch([row("system", 1, "question?")])
    inputs["input_features"] = torch.randn(1, 8, 100)
    inputs["feature_attention_mask"] = torch.ones(1, 100, dtype=torch.long)
    for ratio in (0, 0.6):
        with refused("expands audio placeholders inside its forward", model, Affinity(), ratio):
            model(**inputs)
        with refused("expands audio placeholders inside its forward", model, Scattered(), ratio):
            model(**inputs)


# --- models


def test_parts_of_a_model_do_not_run_alone(model: Any) -> None:
    with refused("call the model itself, not a part of it", model, Scattered(), 0.6):
        model.model(**batch(ONE))
    with refused("call the model itself, not a part of it", model, Scattered(), 0.6):
        model.forward(**batch(ONE))  # goes past its hooks


def test_training() -> None:
    model = thinker("sdpa").train()
    with prune(model, Affinity(), 0.6):
        model(**batch(ONE)).logits.sum().backward()
    assert all(p.grad is not None for p in decoder_layers(model).parameters())
    model.gradient_checkpointing_enable()
    with refused("gradient checkpointing", model, Affinity(), 0.6):
        model(**batch(ONE)).logits.sum().backward()


@torch.no_grad()
def test_inputs_on_another_device_are_torchs_affair(model: Any) -> None:
    inputs = batch(ONE)
    inputs["input_ids"] = inputs["input_ids"].to("meta")
    with pytest.raises(NotImplementedError) as unpruned:
        model(**inputs)
    with refused(
        "Cannot copy out of meta tensor", model, Affinity(), 0.6, kind=NotImplementedError
    ):
        model(**inputs)
    assert "Cannot copy out of meta tensor" in str(unpruned.value)


def test_speech_is_refused_and_text_goes_on() -> None:
    model = full()
    model.speaker_map = {"Chelsie": {}}
    model.talker = types.SimpleNamespace(codec_pad_token=0)  # generate reads it in any mode
    model.has_talker = True
    inputs = batch(ONE)
    for mode in ({}, {"generation_mode": "audio"}):
        with refused("generation_mode='text'", model, Scattered(), 0.6):
            model.generate(**inputs, **mode)
    options = {"thinker_max_new_tokens": 3, "thinker_do_sample": False}
    with prune(model, Scattered(), 0.6) as trace:
        found = model.generate(**inputs, generation_mode="text", **options)
        wanted = model.thinker.generate(**inputs, **GREEDY)
    assert torch.equal(found, wanted)
    assert len(trace) == 2
    assert "generate" not in vars(model)
    assert "generate" not in vars(model.thinker)


def test_wrapped_models(model: Any) -> None:
    class Adapted(nn.Module):
        """As PEFT wraps a model."""

        peft_config: ClassVar[dict[str, Any]] = {}

        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def get_base_model(self) -> nn.Module:
            return self.inner

    with prune(torch.compile(Adapted()), Scattered(), 0.6) as trace:
        model(**batch(ONE))
    assert len(trace) == 1


def test_lengths_differ_by_layer_in_what_is_returned() -> None:
    model = thinker("sdpa")  # transformers leaves hooks on models that were asked for states
    with torch.no_grad(), prune(model, Scattered(), 0.6, 3):
        out = model(**batch(ONE), output_hidden_states=True)
    whole, short = len(ONE[0]), len(ONE[0]) - 12
    assert [h.shape[1] for h in out.hidden_states] == [whole] * 4 + [short] * 3
