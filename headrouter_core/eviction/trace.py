"""What an eviction context did: one entry a row each time, in order."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from headrouter_core.engine.choice.log import Log


@dataclass(frozen=True, eq=False)
class Eviction:
    """One row, once its cache was evicted from: behind a prompt, or again as an answer grew."""

    kept: tuple[tuple[torch.Tensor, ...], ...]
    """By layer and KV head: LongTensor, ascending, of positions among the row's tokens so far:
    padding is not counted, what ``prune`` removed is."""
    length: int
    """The row's tokens so far, padding excluded."""
    bytes_before: int
    """What keys and values of the row took before."""
    bytes_held: int
    """What they take now, and what says where they stand: all counted from the tensors."""
    cutoff: tuple[torch.Tensor, ...] | None
    """By layer: LongTensor [H_kv], the last frequency that smoothing let pass; ``None`` from
    methods that do not smooth."""


class Evictions(Log[Eviction]):
    """The last entries of an eviction context; grows while the context is open, up to a limit.

    Beams and return sequences of a row share one entry behind its prompt, while they are the same.
    """

    def __repr__(self) -> str:
        entries = self._snapshot()
        rows = [f"{entry.bytes_held}/{entry.bytes_before} B" for entry in entries]
        before = [f"{self.dropped} dropped"] if self.dropped else []
        return f"Evictions([{', '.join([*before, *rows])}])"
