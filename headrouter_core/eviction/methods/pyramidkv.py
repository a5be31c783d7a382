"""PyramidKV: more for the first layers than for the last ones, in equal steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from headrouter_core.basics.arguments import real, whole
from headrouter_core.eviction.budgets import Room, share
from headrouter_core.eviction.methods.base import Need, Scores, View
from headrouter_core.eviction.methods.pooling import check_pooling, pooled


@dataclass(frozen=True)
class PyramidKV:
    """SnapKV's scores, with budgets that fall from layer to layer.

    Source: PyramidKV (arXiv 2406.02069): behind the window the last layer has a ``beta``-th of what
    an even share is, the first one as much more, and those between lie on a line.

    Args:
        window: last queries that are asked, and positions that are kept.
        kernel: neighbours that attention is pooled over, odd; 1: none.
        pooling: ``average`` or ``max``.
        beta: steepness, 1 or more; its code takes 20.

    Raises:
        UsageError: a setting is out of range.
    """

    name: ClassVar[str] = "pyramidkv"
    needs: ClassVar[Need] = Need.WINDOW

    window: int = 32
    kernel: int = 5
    pooling: str = "average"
    beta: float = 20

    def __post_init__(self) -> None:
        whole("window", self.window, 1)
        check_pooling(self.kernel, self.pooling)
        real("beta", self.beta, 1, 1e6)

    def score(self, view: View) -> Scores:
        """Return the pooled attention."""
        assert view.attention is not None
        return Scores(pooled(view.attention, self.kernel, self.pooling))

    def share(self, room: Room, scores: Sequence[Sequence[torch.Tensor]]) -> list[list[int]]:
        """Return windows, and of what is left the more the earlier a layer is."""
        depth, least = len(room.budgets), 1 / self.beta
        steps = [(2 - least) - (2 - 2 * least) * i / max(1, depth - 1) for i in range(depth)]
        every = [
            (min(window, held), held, step * (budget - window))
            for budget, window, layer, step in zip(
                room.budgets, room.windows, room.held, steps, strict=True
            )
            for held in layer
        ]
        total = sum(b * len(h) for b, h in zip(room.budgets, room.held, strict=True))
        left = total - sum(window for window, _, _ in every)
        able = [held - window for window, held, _ in every]
        more = iter(share(left, [weight for _, _, weight in every], able))
        flat = iter([window + next(more) for window, _, _ in every])
        counts = [[next(flat) for _ in layer] for layer in room.held]
        return [[max(1, count) for count in layer] for layer in counts]
