"""The attention masks of layers >= M, in the form that their implementation takes."""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, create_causal_mask

from headrouter_core.engine.shortening.columns import Columns
from headrouter_core.errors import PruningError
from headrouter_core.families.attention import Attention
from headrouter_core.families.calls import with_cache


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
        columns: all of the layer's columns, the Q new ones last.
        cache: the whole cache before the layer's update, or ``None``.
        layer: the layer's index in the cache.
        explicit: return a mask also where the kernel could do without one.

    Raises:
        PruningError: a flash kernel, which measures windows in kept tokens only; an attention
            without a mask function, where it would need a mask.
    """
    flash = "flash" in attention.config._attn_implementation
    held = (
        Cache(layers=[cache.layers[layer]])
        if cache is not None and layer < len(cache.layers)
        else None
    )
    # a static cache is longer than what is in it, and flash kernels find that out from the mask
    spare = flash and held is not None and held.is_compileable
    shown = columns.visible()
    if shown is None and spare:
        shown = columns.origin.new_ones(len(columns.origin), columns.length, dtype=torch.bool)
    within = _window(attention, columns, held, hidden.device, flash)
    _check_masked(attention, shown is not None or within is not None or (explicit and not flash))
    return create_causal_mask(
        config=attention.config,
        inputs_embeds=hidden.new_empty(*hidden.shape[-3:-1], 0),
        attention_mask=None if shown is None else shown.to(hidden.device),
        **with_cache(create_causal_mask, held),
        and_mask_function=within or (_everything if explicit and not flash else None),
    )


def _check_masked(attention: Attention, needed: bool) -> None:
    """Raise where a mask is needed and the implementation gets none: transformers makes it none."""
    name = attention.config._attn_implementation
    if needed and name not in ALL_MASK_ATTENTION_FUNCTIONS:
        raise PruningError(
            f"attention {name!r} is registered without a mask function, so it cannot be told which "
            "columns of rows of different lengths are padding; register one by "
            "AttentionMaskInterface, or pass one prompt at a time"
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
    if reach is None or columns.whole <= reach:
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
