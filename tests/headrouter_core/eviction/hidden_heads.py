"""The reference that eviction is held against, written without the engine.

The unmodified model runs in eager attention on a cache that keeps everything. Behind a prompt,
hooks write the least number into the columns that a layer's KV head does not keep.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache

from headrouter_core.eviction.context import evict
from headrouter_core.eviction.trace import Eviction

from ..checking.exactness import Inputs, Step, generated
from ..tiny.families import decoder_layers

#: By prompt: the entries of its rows, and the mask over all columns so far.
Turns = Sequence[tuple[Sequence[Eviction], torch.Tensor]]


def hidden_columns(entries: Sequence[Eviction], mask: torch.Tensor, layer: int) -> torch.Tensor:
    """Return the BoolTensor [B, H_kv, L] of columns that a layer's heads do not keep."""
    heads = len(entries[0].kept[layer])
    hidden = torch.ones(len(mask), heads, mask.shape[1], dtype=torch.bool)
    for row, entry in enumerate(entries):
        (columns,) = mask[row].nonzero(as_tuple=True)
        assert entry.length == len(columns)
        for head, kept in enumerate(entry.kept[layer]):
            assert (kept.diff() > 0).all(), "positions ascend"
            hidden[row, head, columns[kept]] = False
    return hidden


@contextmanager
def hiding(layers: nn.ModuleList, turns: Turns, prompts_end: Sequence[int]) -> Iterator[None]:
    """Hide what was evicted from forwards that go on behind each prompt.

    Args:
        layers: the decoder layers of a model in eager attention.
        turns: see :data:`Turns`.
        prompts_end: columns up to the end of each prompt; forwards with more come behind it.
    """
    handles = []
    for index, layer in enumerate(layers):
        evicted = [hidden_columns(entries, mask, index) for entries, mask in turns]

        def hide(module: Any, args: Any, kwargs: dict[str, Any], evicted: Any = evicted) -> Any:
            mask = kwargs["attention_mask"]
            behind = [i for i, end in enumerate(prompts_end) if mask.shape[-1] > end]
            if not behind:
                return None
            hidden = evicted[behind[-1]]
            hidden = hidden.repeat_interleave(len(mask) // len(hidden), dim=0)
            group = module.self_attn.num_key_value_groups
            hidden = hidden.repeat_interleave(group, dim=1)[:, :, None]
            whole = mask.expand(-1, hidden.shape[1], -1, -1).clone()
            part = whole[..., : hidden.shape[-1]]
            part.masked_fill_(hidden, torch.finfo(mask.dtype).min)
            return args, {**kwargs, "attention_mask": whole}

        handles.append(layer.register_forward_pre_hook(hide, with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def hidden_generation(
    reference: nn.Module, inputs: Inputs, entries: Sequence[Eviction], **options: Any
) -> Any:
    """Generate with a whole model whose heads see only what they keep."""
    mask = inputs["attention_mask"]
    plain = {**options, "past_key_values": lambda model: DynamicCache()}
    layers = decoder_layers(reference)
    with hiding(layers, [(entries, mask)], [mask.shape[1]]):
        return generated(reference, inputs, **plain)


def evicted_generation(
    model: nn.Module, inputs: Inputs, method: Any, budget: float, **options: Any
) -> tuple[Any, list[Eviction]]:
    """Generate with a model that is evicted from."""
    with evict(model, method, budget) as trace:
        return generated(model, inputs, **options), list(trace)


@torch.no_grad()
def steps(model: nn.Module, cache: Any, mask: torch.Tensor, step: Step) -> list[torch.Tensor]:
    """Return the logits of three given tokens, one by one."""
    given = torch.randint(2, 80, (len(mask), 3), generator=torch.Generator().manual_seed(1))
    logits = []
    for token in given.split(1, dim=1):
        mask = torch.cat([mask, torch.ones_like(token)], 1)
        output = model(**step(token, mask), past_key_values=cache, use_cache=True)
        logits.append(output.logits)
    return logits
