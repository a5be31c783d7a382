"""Holding a pruned model against the masked reference, for any model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache

from headrouter_core.pruning.context import Trace, prune
from headrouter_core.selectors.base import Selector

from ..tiny.models import AUDIO
from .masked import dropped_columns, error, masked
from .probes import scattered

TOLERANCE = 1e-5
TOLERANCE_64 = 1e-12

Inputs = dict[str, torch.Tensor]
Kept = list[torch.Tensor]
Step = Callable[[torch.Tensor, torch.Tensor], Inputs]


def plain_step(tokens: torch.Tensor, mask: torch.Tensor) -> Inputs:
    """Return inputs of a decoding step; ``mask`` already holds the new tokens."""
    return {"input_ids": tokens, "attention_mask": mask}


def omni_step(tokens: torch.Tensor, mask: torch.Tensor) -> Inputs:
    """Return the same with the positions that Omni models cannot make up from a grown mask."""
    positions = (mask.cumsum(1) - 1)[:, -tokens.shape[1] :]
    return {**plain_step(tokens, mask), "position_ids": positions.expand(3, -1, -1)}


def kept_by_scattered(inputs: Inputs, ratio: float) -> Kept:
    """Return what ``Scattered`` has to keep of each row, k and all, without the engine."""
    kept = []
    for row, (ids, real) in enumerate(
        zip(inputs["input_ids"], inputs["attention_mask"].bool(), strict=True)
    ):
        total = int((ids[real] == AUDIO).sum())
        count = max(1, total - math.ceil(total * Fraction(str(ratio)))) if total else 0
        kept.append(scattered(total, count, row))
    return kept


def dropped_from(inputs: Inputs, kept: Kept) -> torch.Tensor:
    """Return the BoolTensor [B, L] of audio tokens that are not kept."""
    return dropped_columns(inputs["input_ids"], inputs["attention_mask"], AUDIO, kept)


@dataclass(frozen=True)
class Logits:
    """What a model puts out for a prompt and for given tokens behind it."""

    prefill: torch.Tensor
    """[n, V], at the tokens that are left, row after row."""
    steps: list[torch.Tensor]

    def error(self, wanted: Logits) -> float:
        """Return the largest relative error of the prefill and of each step."""
        pairs = zip([self.prefill, *self.steps], [wanted.prefill, *wanted.steps], strict=True)
        return max(error(found, right) for found, right in pairs)


def shown_logits(logits: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
    """Return the logits [n, V] of shown tokens from pruned rows, which are padded on the left."""
    counts = shown.sum(1).tolist()
    return torch.cat([logits[b, logits.shape[1] - n :] for b, n in enumerate(counts)])


def _steps(model: nn.Module, cache: Any, mask: torch.Tensor, step: Step) -> list[torch.Tensor]:
    """Return the logits of 1, 1 and 3 given tokens behind a prefill."""
    given = torch.randint(2, 80, (len(mask), 5), generator=torch.Generator().manual_seed(1))
    logits = []
    for chunk in given.split([1, 1, 3], dim=1):
        mask = torch.cat([mask, torch.ones_like(chunk)], 1)
        inputs = step(chunk, mask)
        logits.append(model(**inputs, past_key_values=cache, use_cache=True).logits)
    return logits


@torch.no_grad()
def pruned_logits(
    model: nn.Module, inputs: Inputs, selector: Selector, ratio: float, layer: int, step: Step
) -> tuple[Logits, Kept]:
    """Run a prompt and given tokens through a model that is being pruned."""
    mask = inputs["attention_mask"]
    with prune(model, selector, ratio, layer) as trace:
        output = model(**inputs, use_cache=True)
        steps = _steps(model, output.past_key_values, mask, step)
    kept = [entry.kept for entry in trace]
    dropped = dropped_from(inputs, kept)
    assert dropped.any()
    shown = mask.bool() & ~dropped
    longest = int(shown.sum(1).max())
    assert output.logits.shape[1] == longest
    _check_lengths(output.past_key_values, layer, mask.shape[1] + 5, longest + 5)
    return Logits(shown_logits(output.logits, shown), steps), kept


@torch.no_grad()
def masked_logits(
    reference: nn.Module,
    layers: nn.ModuleList,
    inputs: Inputs,
    kept: Kept,
    layer: int,
    step: Step,
    states: dict[tuple[int, int], torch.Tensor] | None = None,
) -> Logits:
    """Run the same through a whole model whose layers from ``layer`` on see only what is kept."""
    mask, dropped = inputs["attention_mask"], dropped_from(inputs, kept)
    with masked(layers, layer, dropped, states):
        output = reference(**inputs, past_key_values=DynamicCache(), use_cache=True)
        steps = _steps(reference, output.past_key_values, mask, step)
    return Logits(output.logits[mask.bool() & ~dropped], steps)


def _check_lengths(cache: Any, layer: int, whole: int, short: int) -> None:
    """Check that layers from ``layer`` on, as far as they keep anything, really hold less."""
    for index, part in enumerate(cache.layers):
        if hasattr(part, "get_seq_length"):
            assert int(part.get_seq_length()) == (whole if index < layer else short), index


@torch.no_grad()
def generated(model: nn.Module, inputs: Inputs, **options: Any) -> Any:
    """Generate, with logits; a callable among the options is called with the model."""
    made = {key: value(model) if callable(value) else value for key, value in options.items()}
    made = {"max_new_tokens": 6, "do_sample": False, **made}
    torch.manual_seed(3)
    return model.generate(**inputs, **made, return_dict_in_generate=True, output_logits=True)


def pruned_generation(
    model: nn.Module, inputs: Inputs, selector: Selector, ratio: float, layer: int, **options: Any
) -> tuple[Any, Trace]:
    """Generate with a model that is being pruned."""
    with prune(model, selector, ratio, layer) as trace:
        return generated(model, inputs, **options), trace


def masked_generation(
    reference: nn.Module,
    layers: nn.ModuleList,
    inputs: Inputs,
    kept: Kept,
    layer: int,
    **options: Any,
) -> Any:
    """Generate with a whole model whose layers from ``layer`` on see only what is kept.

    On a cache that keeps everything, whichever the options name.
    """
    plain = {
        k: v for k, v in options.items() if k not in ("past_key_values", "cache_implementation")
    }
    if plain.get("use_cache", True):
        plain["past_key_values"] = lambda model: DynamicCache()
    with masked(layers, layer, dropped_from(inputs, kept)):
        return generated(reference, inputs, **plain)


def generated_error(found: Any, wanted: Any) -> float:
    """Return the largest relative error of two generations' logits; their tokens must be equal."""
    assert torch.equal(found.sequences, wanted.sequences)
    return max(error(a, b) for a, b in zip(found.logits, wanted.logits, strict=True))
