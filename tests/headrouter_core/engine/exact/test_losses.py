"""Labels in a pruning context: the masked reference's loss, or a typed error."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from headrouter_core.errors import PruningError
from headrouter_core.pruning.context import prune

from ...checking.exactness import dropped_from, kept_by_scattered
from ...checking.guarded import ONE, THREE, fixture_model, refused
from ...checking.masked import masked
from ...checking.probes import Scattered
from ...tiny import families as tiny_families
from ...tiny.families import decoder_layers
from ...tiny.models import AUDIO, batch, thinker

model = fixture_model
FAMILIES = ["qwen2_audio", "voxtral", "granite_speech", "qwen3_omni_moe", "gemma3n"]


def labelled(inputs: dict[str, torch.Tensor], last: int = 3) -> torch.Tensor:
    """Return labels of the last tokens, none of which follows audio or padding."""
    labels = inputs["input_ids"].clone()
    labels[:, :-last] = -100
    assert not (labels == AUDIO).any()
    return labels


@pytest.mark.parametrize("rows", [ONE, THREE])
@pytest.mark.parametrize("number", [None, 7])
def test_the_loss_is_that_of_the_masked_reference(
    model: Any, rows: Any, number: int | None
) -> None:
    inputs = batch(rows)
    labels = labelled(inputs)
    if len(rows) > 1:
        labels[1, -2] = -100
    extra = {} if number is None else {"num_items_in_batch": torch.tensor(number)}
    with prune(model, Scattered(), 0.6):
        found = model(**inputs, labels=labels, **extra)
    with prune(model, Scattered(), 0.6):
        pair = model(**inputs, labels=labels, **extra, return_dict=False)
    reference = thinker("eager")
    dropped = dropped_from(inputs, kept_by_scattered(inputs, 0.6))
    with torch.no_grad(), masked(decoder_layers(reference), 2, dropped):
        wanted = reference(**inputs, labels=labels, **extra).loss
    assert torch.allclose(found.loss, wanted, rtol=1e-5)
    assert next(iter(found)) == "loss"
    assert torch.equal(pair[0], found.loss)
    assert torch.equal(pair[1], found.logits)
    found.loss.backward()
    assert all(p.grad is not None for p in decoder_layers(model).parameters())
    model.zero_grad()


@pytest.mark.parametrize("number", [None, 7])
@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_the_loss_of_other_families(name: str, number: int | None) -> None:
    """Granite and Qwen2-Audio make theirs in their own way, a mean whatever the number is."""
    found = tiny_families.with_audio(tiny_families.build(name))
    reference = tiny_families.with_audio(tiny_families.build(name))
    inputs = {k: v for k, v in batch(THREE).items() if k in ("input_ids", "attention_mask")}
    labels = labelled(inputs)
    extra = {} if number is None else {"num_items_in_batch": torch.tensor(number)}
    with prune(found, Scattered(), 0.6):
        loss = found(**inputs, labels=labels, **extra).loss
    dropped = dropped_from(inputs, kept_by_scattered(inputs, 0.6))
    with masked(decoder_layers(reference), 2, dropped):
        wanted = reference(**inputs, labels=labels, **extra).loss
    assert torch.allclose(loss, wanted, rtol=1e-5)


@torch.no_grad()
def test_labels_where_nothing_has_to_go(model: Any) -> None:
    inputs = batch(THREE)
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    wanted = model(**inputs, labels=labels)
    with prune(model, Scattered(), 0):
        found = model(**inputs, labels=labels)
    assert torch.equal(found.loss, wanted.loss)
    assert torch.equal(found.logits, wanted.logits)


def test_labels_that_dropped_tokens_predict(model: Any) -> None:
    inputs = batch(ONE)
    everywhere = inputs["input_ids"]
    with refused(
        "12 labels are predicted by audio tokens that were dropped", model, Scattered(), 0.6
    ):
        model(**inputs, labels=everywhere)
    padded = batch(THREE)
    with refused("labels are predicted by audio tokens", model, Scattered(), 0.6):
        model(**padded, labels=torch.where(padded["attention_mask"] == 0, 5, -100))


def test_labels_of_another_shape(model: Any) -> None:
    inputs = batch(ONE)
    with refused(r"labels are \[1, 3\]; they must be", model, Scattered(), 0.6):
        model(**inputs, labels=inputs["input_ids"][:, -3:])


def test_what_the_loss_cannot_be_made_of() -> None:
    model = tiny_families.with_audio(tiny_families.build("voxtral"))
    inputs = {k: v for k, v in batch(ONE).items() if k in ("input_ids", "attention_mask")}
    with (
        pytest.raises(PruningError, match="without logits_to_keep"),
        prune(model, Scattered(), 0.6),
    ):
        model(**inputs, labels=labelled(inputs), logits_to_keep=4)
    routed = tiny_families.with_audio(tiny_families.build("qwen3_omni_moe"))
    with (
        pytest.raises(PruningError, match="output_router_logits=False"),
        prune(routed, Scattered(), 0.6),
    ):
        routed(**inputs, labels=labelled(inputs), output_router_logits=True)
