"""StreamingLLM: the first few positions and the last ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from headrouter_core.basics.arguments import whole
from headrouter_core.eviction.budgets import Room
from headrouter_core.eviction.methods.base import Need, Scores, View


@dataclass(frozen=True)
class StreamingLLM:
    """Keep attention sinks and a window that fills the rest of the budget.

    Source: StreamingLLM (arXiv 2309.17453). Positions are not shifted: what is kept stays where it
    was, as with every method here.

    Args:
        sinks: first positions that are kept.

    Raises:
        UsageError: ``sinks`` is no number of positions.
    """

    name: ClassVar[str] = "streaming"
    needs: ClassVar[Need] = Need.NOTHING
    window: ClassVar[int] = 1

    sinks: int = 4

    def __post_init__(self) -> None:
        whole("sinks", self.sinks, 0)

    def score(self, view: View) -> Scores:
        """Return sinks before everything, and the later before the earlier."""
        order = torch.arange(view.positions.shape[1], device=view.positions.device)
        order = order.to(torch.float32).masked_fill(order < self.sinks, torch.inf)
        return Scores(order.expand(view.positions.shape))

    def share(self, room: Room, scores: Sequence[Sequence[torch.Tensor]]) -> list[list[int]]:
        """Return the same for every head of a layer."""
        return room.evenly()
