"""H2O: the positions that all queries so far attended to, and the last ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from headrouter_core.eviction.budgets import Room
from headrouter_core.eviction.methods.base import Need, Scores, View


@dataclass(frozen=True)
class H2O:
    """Keep heavy hitters in one half of the budget, and a window in the other.

    Source: H2O (arXiv 2306.14048): attention summed over all queries of the prompt, which costs
    about as much as the prompt's attention itself. As an answer grows it goes by the queries since
    the last time (``evict``'s ``every``), and not by sums over all steps.
    """

    name: ClassVar[str] = "h2o"
    needs: ClassVar[Need] = Need.EVERY
    #: More than any budget: half of it is the window.
    window: ClassVar[int] = 2**31

    def score(self, view: View) -> Scores:
        """Return the attention that each position got."""
        assert view.attention is not None
        return Scores(view.attention)

    def share(self, room: Room, scores: Sequence[Sequence[torch.Tensor]]) -> list[list[int]]:
        """Return the same for every head of a layer."""
        return room.evenly()
