"""What queries see of each held position, taken while a forward passes with its queries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from headrouter_core.basics.precision import accumulating, full_precision
from headrouter_core.errors import EvictionError
from headrouter_core.eviction.groups import Part
from headrouter_core.eviction.methods.base import Need

#: Queries whose attention is held in memory at a time.
CHUNK = 32


@dataclass(frozen=True, eq=False)
class Seen:
    """What a forward told about one layer."""

    parts: Sequence[Part]
    """What its heads hold."""
    real: torch.Tensor
    """BoolTensor [B, n]: which columns of the layer's sequence are no padding."""
    attention: Sequence[torch.Tensor] | None
    """[B, h, C], one a part: what each slot gets of a query's attention."""


@dataclass(frozen=True)
class Watch:
    """How a forward is looked at."""

    need: Need
    window: int

    def queries(self, count: int) -> int:
        """Return how many of ``count`` queries are asked."""
        if self.need is Need.NOTHING:
            return 0
        return count if self.need is Need.EVERY else min(self.window, count)

    def look(
        self,
        parts_of: Callable[[torch.Tensor], list[Part]],
        length: int,
        query: torch.Tensor,
        mask: Any,
        scale: float | None,
    ) -> Seen:
        """Look at one layer's attention.

        Args:
            parts_of: from which columns are real to what the layer holds.
            length: n, columns of the layer's sequence, those of this forward included.
            query: [B, H, Q, d], the last of the sequence, as attention is given them.
            mask: what attention is given.
            scale: of the affinities; ``None``: 1/sqrt(d).

        Raises:
            EvictionError: a mask that does not say what is padding.
        """
        real = real_columns(mask, len(query), length, query.device)
        parts = parts_of(real)
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        return Seen(parts, real, self.given(parts, real, query.detach(), scale))

    def given(
        self, parts: list[Part], real: torch.Tensor, query: torch.Tensor, scale: float
    ) -> list[torch.Tensor] | None:
        """Return :attr:`Seen.attention`; ``query`` [B, H, Q, d] are the last of the sequence."""
        if self.need is Need.NOTHING:
            return None
        length = real.shape[1]
        own = real[:, length - query.shape[2] :]
        count = self.queries(own.shape[1])
        # a stable sort puts the real ones last and in order, whichever side the padding is on
        order = own.byte().argsort(dim=1, stable=True)[:, own.shape[1] - count :]
        asks, columns = own.gather(1, order), order + length - own.shape[1]
        index = order[:, None, :, None].expand(-1, query.shape[1], -1, query.shape[3])
        query = query.gather(2, index)
        total = [torch.zeros_like(part.real, dtype=torch.float32) for part in parts]
        for start in range(0, count, CHUNK):
            span = slice(start, start + CHUNK)
            for sums, part in zip(total, parts, strict=True):
                sums += _received(part, query[:, :, span], columns[:, span], asks[:, span], scale)
        asking = asks.sum(1).clamp(min=1)[:, None, None]
        return [sums / asking for sums in total]


def _received(
    part: Part, query: torch.Tensor, columns: torch.Tensor, asks: torch.Tensor, scale: float
) -> torch.Tensor:
    """Return what each slot [B, h, C] gets of queries, mean over a KV head's; see ``weights``.

    ``asks``, BoolTensor [B, q], is False at padding.
    """
    given = weights(part, query, columns, scale).masked_fill(~asks[:, None, None, :, None], 0)
    received: torch.Tensor = given.mean(2).sum(2)
    return received


def weights(part: Part, query: torch.Tensor, columns: torch.Tensor, scale: float) -> torch.Tensor:
    """Return the attention [B, h, G, q, C] of queries to what some KV heads hold.

    Args:
        part: what they hold.
        query: [B, H, q, d], of all query heads.
        columns: LongTensor [B, q]: where the queries stand.
        scale: of the affinities.
    """
    dtype = accumulating(query.dtype)
    with torch.no_grad(), full_precision(query.device):
        grouped = query.unflatten(1, (part.of, -1))[:, list(part.heads)].to(dtype)
        scores = grouped @ part.keys.detach()[:, :, None].to(dtype).mT * scale
        before = part.positions[:, :, None] <= columns[:, None, :, None]
        seen = (part.real[:, :, None] & before)[:, :, None]
        scores = scores.masked_fill(~seen, torch.finfo(dtype).min)
        given: torch.Tensor = scores.softmax(-1).masked_fill(~seen, 0)
    return given


def real_columns(mask: Any, rows: int, length: int, device: torch.device) -> torch.Tensor:
    """Return the BoolTensor [B, n] of columns that a forward's last column may look at.

    It stands behind all others, so that what it may not look at is padding, on whichever side.

    Raises:
        EvictionError: the mask is of a form that does not tell.
    """
    if mask is None:
        return torch.ones(rows, length, dtype=torch.bool, device=device)
    if isinstance(mask, torch.Tensor) and mask.ndim == 2:  # flash attention is given padding only
        return mask[:, :length].bool().expand(rows, -1)
    check_mask(mask)
    last = mask[:, 0, -1, :length]
    shown: torch.Tensor = last if last.dtype == torch.bool else last == 0
    return shown.expand(rows, -1)


def check_mask(mask: Any) -> None:
    """Raise unless a mask is a tensor [B or 1, 1, Q, n].

    Raises:
        EvictionError: it is not.
    """
    if not isinstance(mask, torch.Tensor) or mask.ndim != 4 or mask.shape[1] != 1:
        what = list(mask.shape) if isinstance(mask, torch.Tensor) else type(mask).__name__
        raise EvictionError(
            f"attention is given a mask {what}, which is not one of [batch, 1, queries, columns];"
            " pass an attention mask of two dimensions, and load the model with"
            " attn_implementation='sdpa' or 'eager'"
        )
