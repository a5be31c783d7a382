"""What a pruning context did: one entry a row of each prefill, in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import torch


@dataclass(frozen=True, eq=False)
class Entry:
    """One row of one prefill; tensors live where the pruning layer does."""

    kept: torch.Tensor
    """LongTensor [k], ascending indices into the row's audio tokens; empty without audio."""
    importance: torch.Tensor | None
    """FloatTensor [N_a], NaN where a token was not scored; ``None`` from selectors without one."""
    spread: torch.Tensor | None
    """Scalar tensor; ``None`` for selectors that do not route."""
    mixing: torch.Tensor | None
    """[3]: semantic, uniform, acoustic; ``None`` for selectors that do not route."""
    audio_tokens: int
    """N_a."""
    prompt_length: int
    """Tokens of the prompt, audio and markers included, padding excluded."""


class Trace(Sequence[Entry]):
    """Entries of a pruning context; grows while the context is open.

    Beams and return sequences of a row share one entry.
    """

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> list[Entry]: ...
    def __getitem__(self, index: int | slice) -> Entry | list[Entry]:
        return self._entries[index]

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def __repr__(self) -> str:
        rows = ", ".join(f"{entry.kept.numel()}/{entry.audio_tokens}" for entry in self)
        return f"Trace([{rows}])"

    def _extend(self, entries: Iterable[Entry]) -> None:
        self._entries.extend(entries)
