"""What a profile's report on held-out samples says, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: The report's methods, in the order in which they are shown.
METHODS = ("headrouter", "uniform weights", "frame", "adaptive segments")


def verdicts(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(verdict, plain sentence) for each ratio and rival; the verdict is better, worse or tie."""
    words = {"better": "better than", "worse": "WORSE than", "tie": "no better than (a tie with)"}
    return [
        (
            found["verdict"],
            f"At ratio {ratio}, {found['method']}: {words[found['verdict']]} {found['rival']}, NLL "
            f"{found['difference']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}] nats/token.",
        )
        for ratio, entry in results["ratios"].items()
        for found in entry["comparisons"]
    ]
