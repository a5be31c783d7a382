"""Random: the floor that every method has to clear."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from headrouter_core.basics.arguments import whole
from headrouter_core.eviction.budgets import Room
from headrouter_core.eviction.methods.base import Need, Scores, View


@dataclass(frozen=True)
class RandomKV:
    """Keep a window, and positions drawn without replacement, other ones for each head.

    Seed, prompt, layer and head decide: neither batching nor devices, nor draws before, do.

    Args:
        seed: any whole number.
        window: last positions that are kept.

    Raises:
        UsageError: a setting is out of range.
    """

    name: ClassVar[str] = "random"
    needs: ClassVar[Need] = Need.NOTHING

    seed: int = 0
    window: int = 32

    def __post_init__(self) -> None:
        whole("seed", self.seed)
        whole("window", self.window, 1)

    def score(self, view: View) -> Scores:
        """Return numbers that are drawn."""
        drawn = [self._draw(view, head) for head in view.heads]
        return Scores(torch.stack(drawn).to(view.positions.device, non_blocking=True))

    def share(self, room: Room, scores: Sequence[Sequence[torch.Tensor]]) -> list[list[int]]:
        """Return the same for every head of a layer."""
        return room.evenly()

    def _draw(self, view: View, head: int) -> torch.Tensor:
        # hashed: neighbouring seeds and heads must not share a stream
        name = f"{self.seed} {view.sample} {view.layer} {head}"
        digest = hashlib.sha256(name.encode()).digest()
        generator = torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "little"))
        return torch.rand(view.positions.shape[1], generator=generator, device="cpu")
