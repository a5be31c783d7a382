"""How many positions each layer and KV head keeps: whole numbers that sum to the budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from headrouter_core.basics.arguments import shown
from headrouter_core.errors import UsageError
from headrouter_core.scoring import exact_ratio


def exact_budget(budget: float | str | Fraction) -> Fraction:
    """Return a budget at its decimal value.

    Raises:
        UsageError: no number in (0, 1].
    """
    wanted = "; 0.4 keeps 40 % of what a layer holds"
    if budget == 1 and not isinstance(budget, bool):
        return Fraction(1)
    try:
        exact = exact_ratio(budget)
    except UsageError:
        exact = Fraction(0)
    if not exact:
        raise UsageError(f"budget is {shown(budget)}; it must be a number in (0, 1]{wanted}")
    return exact


@dataclass(frozen=True)
class Room:
    """What there is to share among the KV heads of one row's cache."""

    budgets: tuple[int, ...]
    """One a layer: positions that its heads may keep on average, the window included."""
    windows: tuple[int, ...]
    """One a layer: last positions that every head keeps, at most half of the budget."""
    held: tuple[tuple[int, ...], ...]
    """By layer and head: positions that are there."""

    @classmethod
    def of(
        cls, columns: Sequence[int], held: Sequence[Sequence[int]], budget: Fraction, window: int
    ) -> Room:
        """Return the room in a cache.

        Args:
            columns: one a layer: positions of its sequence so far, evicted ones included.
            held: by layer and head.
            budget: fraction of ``columns``.
            window: what the method asks for.
        """
        budgets = tuple(max(1, math.floor(n * budget)) for n in columns)
        windows = tuple(min(window, most // 2) for most in budgets)
        return cls(budgets, windows, tuple(map(tuple, held)))

    def evenly(self) -> list[list[int]]:
        """Return the same number for every head of a layer, as far as they hold so many."""
        return [
            share(budget * len(held), [1.0] * len(held), held)
            for budget, held in zip(self.budgets, self.held, strict=True)
        ]


def share(total: int, weights: Sequence[float], most: Sequence[int]) -> list[int]:
    """Share a number in proportion to weights; what one cannot take is handed on to the others.

    Args:
        total: what is shared; where it is more than all can take, each gets what it can.
        weights: not negative; where those that can take more are all 0, they share evenly.
        most: what each can take.

    Returns:
        Whole numbers that sum to ``min(total, sum(most))``; of equal remainders the first is
        rounded up.
    """
    given, left = [0] * len(most), min(total, sum(most))
    able = [i for i, limit in enumerate(most) if limit]
    while able:
        mass = math.fsum(weights[i] for i in able)
        ideal = {i: left * (weights[i] / mass if mass else 1 / len(able)) for i in able}
        full = [i for i in able if ideal[i] >= most[i]]
        if not full:
            return _rounded(given, ideal, left)
        for i in full:
            given[i] = most[i]
            left -= most[i]
        able = [i for i in able if i not in set(full)]
    return given


def _rounded(given: list[int], ideal: dict[int, float], total: int) -> list[int]:
    """Round to whole numbers that sum to a total, by the largest remainders."""
    for i, part in ideal.items():
        given[i] = math.floor(part)
    missing = total - sum(given[i] for i in ideal)
    for i in sorted(ideal, key=lambda i: given[i] - ideal[i])[:missing]:
        given[i] += 1
    return given
