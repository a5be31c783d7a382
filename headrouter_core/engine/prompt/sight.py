"""Reading, out of the mask that a model is given, which columns tokens may look at."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NoReturn

import torch

from headrouter_core.errors import PruningError

#: What is added to a score to hide a column is at most this; beside others its weight is exactly 0.
_HIDING = -1e4


def shown_columns(
    mask: Any, rows: int, first: int, count: int, windows: Collection[int | None], *, flash: bool
) -> torch.Tensor | None:
    """Return which of all columns the mask shows to the new tokens, causal order apart.

    Args:
        mask: what the model was given: nothing, [B, length], [B, 1 or heads, queries, keys], or a
            dict of the latter by layer type. It may be longer than the sequence, as for a static
            cache; like transformers, this reads it from the left.
        rows: B.
        first: column of the first new token.
        count: number of new tokens.
        windows: reach of the sliding windows of layers from M on; ``None`` for layers without.
        flash: whether a flash kernel is given the mask.

    Returns:
        BoolTensor [B, first + count], on the mask's device; ``None``: all of them.

    Raises:
        PruningError: a mask that is more than causal order, windows and such columns.
    """
    if isinstance(mask, dict):
        return _by_type(mask, rows, first, count, windows)
    if mask is None:
        return None
    if not isinstance(mask, torch.Tensor) or mask.ndim not in (2, 4):
        what = list(mask.shape) if isinstance(mask, torch.Tensor) else type(mask).__name__
        raise PruningError(
            f"the attention mask is {what}, which cannot be carried over to the kept tokens; pass "
            "a 2-D mask"
        )
    if mask.ndim == 2:
        return _two(mask, rows, first + count, flash=flash)
    found = [_four(mask, rows, first, count, window) for window in windows]
    return found[0]


def _by_type(
    masks: dict[str, Any], rows: int, first: int, count: int, windows: Collection[int | None]
) -> torch.Tensor | None:
    """Return what masks by layer type show, which must be the same."""
    reaches: dict[str, list[int | None]] = {
        "full_attention": [None],
        "sliding_attention": [window for window in windows if window is not None],
    }
    if unknown := sorted(set(masks) - set(reaches)):
        raise PruningError(
            f"the attention mask is a dict with {', '.join(unknown)}, which is no kind of layer "
            "that can be pruned; pass a 2-D mask"
        )
    given = {kind: masks[kind] for kind in reaches if masks.get(kind) is not None}
    found = {
        kind: _four(mask, rows, first, count, window)
        for kind, mask in given.items()
        for window in reaches[kind]
    }
    if "full_attention" in masks:
        whole = found.get("full_attention")
        near = found.get("sliding_attention")
        if near is not None:
            # columns beyond every new token's window are hidden there, whatever they are
            reach = max(window for window in windows if window is not None)
            near = near[:, max(0, first - reach + 1) :]
            far = near.new_ones(near.shape) if whole is None else whole[:, -near.shape[1] :]
            if not torch.equal(near, far):
                _more_than_causal()
        return whole
    return found.get("sliding_attention")


def _two(mask: torch.Tensor, rows: int, total: int, *, flash: bool) -> torch.Tensor:
    if mask.shape[0] != rows or mask.shape[1] < total:
        raise PruningError(
            f"the attention mask is {list(mask.shape)} for {rows} rows of {total} columns, those "
            "in the cache included; pass one that covers them all"
        )
    if flash and not torch.equal(mask[:, :total], mask[:, -total:]):
        raise PruningError(
            f"the attention mask has {mask.shape[1]} columns for {total} tokens, and flash "
            "attention would read it from the right; cut it to the tokens that there are"
        )
    return mask[:, :total].bool()


def _four(mask: Any, rows: int, first: int, count: int, window: int | None) -> torch.Tensor:
    """Return what a mask of [B or 1, 1 or heads, Q, K] shows; columns out of reach are hidden.

    Raises:
        PruningError: heads or queries differ by more than causal order and the window.
    """
    total = first + count
    if not isinstance(mask, torch.Tensor) or mask.ndim != 4:
        _more_than_causal()
    if mask.shape[0] not in (1, rows) or mask.shape[2] != count or mask.shape[3] < total:
        raise PruningError(
            f"the attention mask is {list(mask.shape)} for {rows} rows, {count} new tokens and "
            f"{total} columns; pass a 2-D mask"
        )
    allowed = _allowed(mask[..., :total])
    queries = torch.arange(first, total, device=mask.device)[:, None]
    keys = torch.arange(total, device=mask.device)
    seen = keys <= queries
    if window is not None:
        seen &= keys > queries - window
    shown = allowed[:, 0].any(dim=1)
    if not torch.equal(allowed, (seen & shown[:, None])[:, None].expand_as(allowed)):
        _more_than_causal()
    return shown.expand(rows, -1)


def _allowed(mask: torch.Tensor) -> torch.Tensor:
    """Return where a mask lets tokens look, as a BoolTensor of its shape.

    Raises:
        PruningError: it is added to scores, and neither leaves them as they are nor hides.
    """
    if mask.dtype == torch.bool:
        return mask
    if not bool(((mask == 0) | (mask <= _HIDING)).all()):
        raise PruningError(
            "the attention mask adds to scores by more than hiding columns, which cannot be carried"
            " over to the kept tokens; pass a 2-D mask"
        )
    return mask == 0


def _more_than_causal() -> NoReturn:
    raise PruningError(
        "the attention mask is more than causal order and padding, so it cannot be carried over to "
        "the kept tokens; pass a 2-D mask"
    )
