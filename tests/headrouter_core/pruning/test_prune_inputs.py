"""Pruned embeddings equal a full-length run in which no layer sees the dropped tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from headrouter_core import prune, prune_inputs

from ..checking.exactness import TOLERANCE, shown_logits
from ..checking.masked import dropped_columns, error, masked
from ..checking.probes import Affinity, Scattered
from ..tiny.families import decoder_layers
from ..tiny.models import AUDIO
from .whole_models import FAMILIES, ROWS, STEPPED, inputs, model, positions

each_family = pytest.mark.parametrize("name", FAMILIES)
each_attention = pytest.mark.parametrize("attention", ["eager", "sdpa"])
each_prompt = pytest.mark.parametrize(
    ("rows", "side"), [("one", "left"), ("three", "left"), ("three", "right")]
)


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
