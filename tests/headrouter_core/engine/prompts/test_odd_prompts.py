"""Prompts and models out of the ordinary: pruned exactly, or refused with what to do."""

from __future__ import annotations

import types
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from headrouter_core.pruning.context import prune

from ...checking.guarded import ONE, THREE, fixture_model, refused
from ...checking.probes import Affinity, Scattered
from ...tiny import families as tiny_families
from ...tiny.families import decoder_layers
from ...tiny.models import batch, full, row, thinker

model = fixture_model
GREEDY = {"max_new_tokens": 3, "do_sample": False}


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
