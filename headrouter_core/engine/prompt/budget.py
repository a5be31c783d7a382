"""How many audio tokens stay: by ratio or by number, one for all rows or one a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headrouter_core.basics.arguments import whole
from headrouter_core.errors import PruningError, UsageError
from headrouter_core.scoring import keep_count

Ratio = float | Sequence[float]
Keep = int | Sequence[int]


@dataclass(frozen=True)
class Budget:
    """What a pruning context was asked to keep: exactly one of these."""

    ratio: Ratio | None = None
    """Fraction of a row's audio tokens to remove, in [0, 1), at its decimal value."""
    keep: Keep | None = None
    """Audio tokens of a row to keep, at least 1; all of them where there are fewer."""

    def __post_init__(self) -> None:
        if (self.ratio is None) == (self.keep is None):
            given = "both" if self.keep is not None else "neither"
            raise UsageError(f"{given} of ratio and keep given; pass exactly one of them")
        for name in ("ratio", "keep"):
            if isinstance(given := getattr(self, name), list):
                object.__setattr__(self, name, tuple(given))  # a list stays its owner's to change
        values = self._by_row
        if values is not None and not values:
            raise UsageError(f"{self._name} is an empty list; it must hold one value a row")
        for value in [self._given] if values is None else values:
            if self.keep is None:
                keep_count(1, value)  # type: ignore[arg-type]
            else:
                whole("keep", value, 1)

    def kept(self, audio_tokens: int, row: int, rows: int) -> int:
        """Return k; 0 without audio.

        Args:
            audio_tokens: N_a of a row.
            row: which of the prompts of a forward it is.
            rows: how many these are.

        Raises:
            PruningError: there is one value a row, but for another number of rows.
        """
        value, values = self._given, self._by_row
        if values is not None:
            if len(values) != rows:
                raise PruningError(
                    f"{self._name} holds {len(values)} values, one a row, but this forward has"
                    f" {rows} rows"
                )
            value = values[row]
        if not audio_tokens:
            return 0
        if self.keep is None:
            return keep_count(audio_tokens, value)  # type: ignore[arg-type]
        return min(int(value), audio_tokens)  # type: ignore[arg-type]

    @property
    def _name(self) -> str:
        return "ratio" if self.keep is None else "keep"

    @property
    def _given(self) -> Ratio | Keep | None:
        return self.ratio if self.keep is None else self.keep

    @property
    def _by_row(self) -> tuple[float, ...] | None:
        given = self._given
        return given if isinstance(given, tuple) else None
