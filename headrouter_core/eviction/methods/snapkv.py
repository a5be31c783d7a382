"""SnapKV: what the last queries of the prompt attend to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from headrouter_core.basics.arguments import whole
from headrouter_core.eviction.budgets import Room
from headrouter_core.eviction.methods.base import Need, Scores, View
from headrouter_core.eviction.methods.pooling import check_pooling, pooled


@dataclass(frozen=True)
class SnapKV:
    """Keep what the window's queries attend to, as much of it for every head.

    Source: SnapKV (arXiv 2404.14469); with grouped queries the attention is the mean over a KV
    head's query heads. Its code pools by an average over 5 neighbours unless told otherwise.

    Args:
        window: last queries that are asked, and positions that are kept.
        kernel: neighbours that attention is pooled over, odd; 1: none.
        pooling: ``average`` or ``max``.

    Raises:
        UsageError: a setting is out of range.
    """

    name: ClassVar[str] = "snapkv"
    needs: ClassVar[Need] = Need.WINDOW

    window: int = 32
    kernel: int = 5
    pooling: str = "average"

    def __post_init__(self) -> None:
        whole("window", self.window, 1)
        check_pooling(self.kernel, self.pooling)

    def score(self, view: View) -> Scores:
        """Return the pooled attention."""
        assert view.attention is not None
        return Scores(pooled(view.attention, self.kernel, self.pooling))

    def share(self, room: Room, scores: Sequence[Sequence[torch.Tensor]]) -> list[list[int]]:
        """Return the same for every head of a layer."""
        return room.evenly()
