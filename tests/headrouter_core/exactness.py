"""Holding a pruned model against the masked reference, for any model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache

from headrouter_core.pruning import Trace, prune
from headrouter_core.selectors.base import Selector

from .masked import dropped_columns, error, masked

TOLERANCE = 1e-5

Inputs = dict[str, torch.Tensor]
Step = Callable[[torch.Tensor, torch.Tensor], Inputs]


def plain_step(tokens: torch.Tensor, mask: torch.Tensor) -> Inputs:
    """Return inputs of a decoding step; ``mask`` already holds the new tokens."""
    return {"input_ids": tokens, "attention_mask": mask}


def omni_step(tokens: torch.Tensor, mask: torch.Tensor) -> Inputs:
    """Return the same with the positions that Omni models cannot make up from a grown mask."""
    positions = (mask.cumsum(1) - 1)[:, -tokens.shape[1] :]
    return {**plain_step(tokens, mask), "position_ids": positions.expand(3, -1, -1)}


def shown_logits(logits: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
    """Return the logits [n, V] of shown tokens from pruned rows, which are padded on the left."""
    counts = shown.sum(1).tolist()
    return torch.cat([logits[b, logits.shape[1] - n :] for b, n in enumerate(counts)])


@torch.no_grad()
def forced_error(
    model: nn.Module,
    reference: nn.Module,
    layers: nn.ModuleList,
    inputs: Inputs,
    selector: Selector,
    ratio: float,
    layer: int,
    audio_id: int,
    step: Step = plain_step,
) -> float:
    """Return the largest relative error of a prefill and of steps of 1, 1 and 3 given tokens."""
    mask = inputs["attention_mask"]
    given = torch.randint(2, 80, (len(mask), 5), generator=torch.Generator().manual_seed(1))
    chunks = given.split([1, 1, 3], dim=1)

    def steps(of: nn.Module, cache: Any) -> list[torch.Tensor]:
        grown, logits = mask, []
        for chunk in chunks:
            grown = torch.cat([grown, torch.ones_like(chunk)], 1)
            logits.append(of(**step(chunk, grown), past_key_values=cache, use_cache=True).logits)
        return logits

    with prune(model, selector, ratio, layer) as trace:
        pruned = model(**inputs, use_cache=True)
        found = steps(model, pruned.past_key_values)

    dropped = dropped_columns(inputs["input_ids"], mask, audio_id, [e.kept for e in trace])
    assert dropped.any()
    with masked(layers, layer, dropped):
        whole = reference(**inputs, past_key_values=DynamicCache())
        wanted = steps(reference, whole.past_key_values)

    shown = mask.bool() & ~dropped
    errors = [error(shown_logits(pruned.logits, shown), whole.logits[shown])]
    errors += [error(a, b) for a, b in zip(found, wanted, strict=True)]
    check_lengths(pruned.past_key_values, layer, mask.shape[1] + 5, pruned.logits.shape[1] + 5)
    return max(errors)


def check_lengths(cache: Any, layer: int, whole: int, short: int) -> None:
    """Check that layers from ``layer`` on, as far as they keep anything, really hold less."""
    for index, part in enumerate(cache.layers):
        if hasattr(part, "get_seq_length"):
            assert int(part.get_seq_length()) == (whole if index < layer else short), index


@torch.no_grad()
def generated_error(
    model: nn.Module,
    reference: nn.Module,
    layers: nn.ModuleList,
    inputs: Inputs,
    selector: Selector,
    ratio: float,
    layer: int,
    audio_id: int,
    **generate: Any,
) -> tuple[float, Trace]:
    """Return the largest relative error of ``generate``'s logits; its tokens must be equal.

    A callable in ``generate`` is called with the model to make the value, as for caches. The
    reference runs on a cache that keeps everything.
    """
    caches = {"past_key_values", "cache_implementation"}

    def run(of: nn.Module, options: dict[str, Any]) -> Any:
        torch.manual_seed(3)
        options = {"max_new_tokens": 6, "do_sample": False, **options}
        return of.generate(**inputs, **options, return_dict_in_generate=True, output_logits=True)

    with prune(model, selector, ratio, layer) as trace:
        found = run(model, {k: v(model) if callable(v) else v for k, v in generate.items()})
    plain: dict[str, Any] = {k: v for k, v in generate.items() if k not in caches}
    if plain.get("use_cache", True):
        plain["past_key_values"] = DynamicCache()
    kept = [entry.kept for entry in trace]
    dropped = dropped_columns(inputs["input_ids"], inputs["attention_mask"], audio_id, kept)
    with masked(layers, layer, dropped):
        wanted = run(reference, plain)
    assert torch.equal(found.sequences, wanted.sequences)
    return max(error(a, b) for a, b in zip(found.logits, wanted.logits, strict=True)), trace
