"""Pruning ratios as the command line takes them: several, each different, each in (0, 1)."""

from __future__ import annotations

from collections.abc import Sequence

from headrouter_core.errors import UsageError
from headrouter_core.scoring import exact_ratio


def parse_ratios(text: str) -> tuple[float, ...]:
    """Return the ratios of a comma-separated list; ``UsageError`` where one is not in [0, 1)."""
    return tuple(float(exact_ratio(part.strip())) for part in text.split(","))


def check_ratios(ratios: Sequence[float]) -> None:
    """Raise ``UsageError`` unless every ratio prunes and none stands twice."""
    for ratio in ratios:
        if exact_ratio(ratio) == 0:
            raise UsageError("ratio 0 prunes nothing; give ratios such as 0.6,0.9")
    if not ratios:
        raise UsageError("there is no ratio; give one or more, such as 0.6,0.9")
    twice = next((ratio for ratio in ratios if ratios.count(ratio) > 1), None)
    if twice is not None:
        raise UsageError(f"ratio {twice:g} is given twice; give each once")
