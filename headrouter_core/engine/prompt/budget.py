"""How many audio tokens stay: by ratio or by number, one for all rows or one a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrouter_core.basics.arguments import whole
from headrouter_core.errors import PruningError, UsageError
from headrouter_core.scoring import keep_count

Ratio = float | Sequence[float]
Keep = int | Sequence[int]


class Budget:
    """How much of a row stays: a fraction to remove, or a number of tokens to keep."""

    def __init__(self, ratio: Ratio | None = None, keep: Keep | None = None) -> None:
        """Take one of the two; a list holds one value a row.

        Args:
            ratio: fraction of a row's audio tokens to remove, in [0, 1), at its decimal value.
            keep: audio tokens of a row to keep, at least 1; all of them where there are fewer.

        Raises:
            UsageError: both or neither, or a value that is none.
        """
        if (ratio is None) == (keep is None):
            given = "both" if keep is not None else "neither"
            raise UsageError(f"{given} of ratio and keep given; pass exactly one of them")
        value: Any
        self._name, value = ("ratio", ratio) if keep is None else ("keep", keep)
        self._by_row = isinstance(value, list | tuple)
        self._values: tuple[Any, ...] = tuple(value) if self._by_row else (value,)
        if not self._values:
            raise UsageError(f"{self._name} is an empty list; it must hold one value a row")
        for each in self._values:
            self._of(1, each)

    def kept(self, audio_tokens: int, row: int, rows: int) -> int:
        """Return k; 0 without audio.

        Args:
            audio_tokens: N_a of a row.
            row: which of the prompts of a forward it is.
            rows: how many these are.

        Raises:
            PruningError: there is one value a row, but for another number of rows.
        """
        if self._by_row and len(self._values) != rows:
            raise PruningError(
                f"{self._name} holds {len(self._values)} values, one a row, but this forward has"
                f" {rows} rows"
            )
        value = self._values[row if self._by_row else 0]
        return self._of(audio_tokens, value) if audio_tokens else 0

    def _of(self, audio_tokens: int, value: Any) -> int:
        if self._name == "ratio":
            return keep_count(audio_tokens, value)
        return min(whole("keep", value, 1), audio_tokens)
