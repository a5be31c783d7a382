"""The methods that choose which audio tokens to keep: one file each, registered here."""

from __future__ import annotations

from headrouter_core.basics.arguments import shown
from headrouter_core.errors import UsageError
from headrouter_core.selectors.adaptive_segments import AdaptiveSegments
from headrouter_core.selectors.base import Merge, Need, Registered, Selection, Selector, View
from headrouter_core.selectors.frame import Frame
from headrouter_core.selectors.headrouter import HeadRouter
from headrouter_core.selectors.rivals.affinity_merge import AffinityMerge
from headrouter_core.selectors.rivals.dart import DART
from headrouter_core.selectors.rivals.energy import Energy
from headrouter_core.selectors.rivals.fastv import FastV
from headrouter_core.selectors.rivals.random import Random
from headrouter_core.selectors.rivals.segmentwise import Segmentwise
from headrouter_core.selectors.segments import Segments

__all__ = [
    "DART",
    "SELECTORS",
    "AdaptiveSegments",
    "AffinityMerge",
    "Energy",
    "FastV",
    "Frame",
    "HeadRouter",
    "Merge",
    "Need",
    "Random",
    "Registered",
    "Segments",
    "Segmentwise",
    "Selection",
    "Selector",
    "View",
    "get_selector",
]

#: What ``--method`` knows.
SELECTORS: dict[str, type[Registered]] = {
    kind.name: kind
    for kind in (
        HeadRouter,
        AdaptiveSegments,
        Segments,
        Frame,
        Random,
        FastV,
        DART,
        Segmentwise,
        AffinityMerge,
        Energy,
    )
}


def get_selector(name: str) -> type[Registered]:
    """Return the selector class called ``name``.

    Raises:
        UsageError: listing the known names.
    """
    if not isinstance(name, str) or name not in SELECTORS:
        raise UsageError(
            f"there is no method {shown(name)}; known are {', '.join(sorted(SELECTORS))}"
        )
    return SELECTORS[name]
