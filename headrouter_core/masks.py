"""Attention masks: reading the padding out of the model's own, and making those of layers >= M."""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache
from transformers.masking_utils import create_causal_mask

from headrouter_core.calls import with_cache
from headrouter_core.columns import Columns
from headrouter_core.errors import PruningError
from headrouter_core.families.attention import Attention


def real_tokens(mask: Any, first: int, count: int, *, prepared: bool) -> torch.Tensor | None:
    """Return the BoolTensor [B, count] of the new tokens, False at padding; ``None``: all real.

    Args:
        mask: what the model was given: nothing, [B, length], [B, 1, queries, keys], or a dict of
            the latter by layer type.
        first: column of the first new token.
        count: number of new tokens.
        prepared: ``generate`` made the mask from a 2-D one, as it does for static caches.

    Raises:
        PruningError: a caller's mask that is more than causal order and padding.
    """
    if isinstance(mask, dict):
        mask = mask.get("full_attention", next(iter(mask.values()), None))
    if mask is None or (prepared and count == 1):
        return None
    if mask.ndim == 2:
        given: torch.Tensor = mask[:, -count:].bool()
        return given
    allowed = (mask if mask.dtype == torch.bool else mask == 0)[:, 0, :, first : first + count]
    # any token sees itself, also in a sliding window, unless it is padding
    real: torch.Tensor = allowed.diagonal(dim1=1, dim2=2)
    causal = torch.ones(count, count, dtype=torch.bool, device=mask.device).tril()
    if not prepared and not torch.equal(allowed, causal & real[:, None]):
        raise PruningError(
            "the 4-D attention mask is more than causal order and padding, so it cannot be carried "
            "over to the kept tokens; pass a 2-D mask"
        )
    return real


def pruned_mask(
    attention: Attention,
    hidden: torch.Tensor,
    columns: Columns,
    cache: Cache | None,
    layer: int,
    *,
    explicit: bool = False,
) -> Any:
    """Make the mask of a layer >= M in the form that its attention implementation takes.

    The causal order is that of the kept tokens. A sliding window reaches as far as in the unpruned
    sequence: it is measured in original columns.

    Args:
        attention: the layer's attention.
        hidden: the layer's input [..., B, Q, D]; only shape, dtype and device matter.
        columns: the layer's columns, the Q new ones included.
        cache: the whole cache before the layer's update, or ``None``.
        layer: the layer's index in the cache.
        explicit: return a mask also where the kernel could do without one.

    Raises:
        PruningError: a flash kernel, which measures windows in kept tokens only.
    """
    flash = "flash" in attention.config._attn_implementation
    held = (
        Cache(layers=[cache.layers[layer]])
        if cache is not None and layer < len(cache.layers)
        else None
    )
    # a static cache is longer than what is in it, and flash kernels find that out from the mask
    spare = flash and held is not None and held.is_compileable
    padding = columns.padding() if columns.valid is not None or spare else None
    within = _window(attention, columns, held, hidden.device, flash)
    return create_causal_mask(
        config=attention.config,
        inputs_embeds=hidden.new_empty(*hidden.shape[-3:-1], 0),
        attention_mask=None if padding is None else padding.to(hidden.device),
        **with_cache(create_causal_mask, held),
        and_mask_function=within or (_everything if explicit and not flash else None),
    )


def _everything(batch: Any, head: Any, query: torch.Tensor, key: Any) -> Any:
    return query >= 0


def _window(
    attention: Attention,
    columns: Columns,
    held: Cache | None,
    device: torch.device,
    flash: bool,
) -> Any:
    """Return the mask function of a sliding window that is shorter than the sequence, or None."""
    reach = attention.window
    if reach is None or columns.length + columns.removed <= reach:
        return None
    if flash:
        raise PruningError(
            f"flash attention measures its sliding window of {reach} in kept tokens, but the "
            "prompt is longer than that; load the model with attn_implementation='sdpa'"
        )
    # static caches ask for more columns than are in use
    length = max(columns.length, 0 if held is None else held.get_mask_sizes(1, 0)[0])
    positions = columns.positions(length).to(device)

    def within(batch: Any, head: Any, query: Any, key: Any) -> Any:
        return positions[batch, key] > positions[batch, query] - reach

    return within
