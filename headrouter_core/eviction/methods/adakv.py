"""Ada-KV: a layer's budget goes to the heads whose attention is spread widest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from headrouter_core.basics.arguments import real, whole
from headrouter_core.eviction.budgets import Room
from headrouter_core.eviction.methods.base import Need, Scores, View
from headrouter_core.eviction.methods.pooling import check_pooling, pooled


@dataclass(frozen=True)
class AdaKV:
    """Keep the positions of a layer that score best, whichever its head; each has a floor.

    Source: Ada-KV (arXiv 2407.11550), Ada-SnapKV in it: SnapKV's scores. Its code leaves every head
    a fifth of an even share.

    Args:
        window: last queries that are asked, and positions that are kept.
        kernel: neighbours that attention is pooled over, odd; 1: none.
        pooling: ``average`` or ``max``.
        floor: share of an even budget, behind the window, that every head has.

    Raises:
        UsageError: a setting is out of range.
    """

    name: ClassVar[str] = "adakv"
    needs: ClassVar[Need] = Need.WINDOW

    window: int = 32
    kernel: int = 5
    pooling: str = "average"
    floor: float = 0.2

    def __post_init__(self) -> None:
        whole("window", self.window, 1)
        check_pooling(self.kernel, self.pooling)
        real("floor", self.floor, 0, 1)

    def score(self, view: View) -> Scores:
        """Return the pooled attention."""
        assert view.attention is not None
        return Scores(pooled(view.attention, self.kernel, self.pooling))

    def share(self, room: Room, scores: Sequence[Sequence[torch.Tensor]]) -> list[list[int]]:
        """Return how many of a layer's best positions are each head's."""
        return [
            self._layer(budget, window, held, layer)
            for budget, window, held, layer in zip(
                room.budgets, room.windows, room.held, scores, strict=True
            )
        ]

    def _layer(
        self, budget: int, window: int, held: Sequence[int], scores: Sequence[torch.Tensor]
    ) -> list[int]:
        least = window + math.floor((budget - window) * self.floor)
        floors = [min(least, most) for most in held]
        left = budget * len(held) - sum(floors)
        # behind each head's floor its positions compete, best first, so the next best are later
        rest = [
            head_scores.sort(descending=True).values[max(0, floor - window) :]
            for head_scores, floor in zip(scores, floors, strict=True)
        ]
        owners = torch.cat(
            [torch.full_like(part, i, dtype=torch.long) for i, part in enumerate(rest)]
        )
        best = torch.cat(rest).argsort(descending=True, stable=True)[: max(0, left)]
        more = owners[best].bincount(minlength=len(held)).tolist()
        return [floor + extra for floor, extra in zip(floors, more, strict=True)]
