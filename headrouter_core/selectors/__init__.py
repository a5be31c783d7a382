"""The methods that choose which audio tokens to keep: one file each, registered here."""

from __future__ import annotations

from headrouter_core.errors import UsageError
from headrouter_core.selectors.base import Need, Selection, Selector, View
from headrouter_core.selectors.frame import Frame
from headrouter_core.selectors.headrouter import HeadRouter
from headrouter_core.selectors.random import Random

__all__ = [
    "SELECTORS",
    "Frame",
    "HeadRouter",
    "Need",
    "Random",
    "Selection",
    "Selector",
    "View",
    "get_selector",
]

#: What ``--method`` knows.
SELECTORS: dict[str, type] = {kind.name: kind for kind in (HeadRouter, Frame, Random)}


def get_selector(name: str) -> type:
    """Return the selector class called ``name``.

    Raises:
        UsageError: listing the known names.
    """
    if name not in SELECTORS:
        raise UsageError(f"there is no method {name!r}; known are {', '.join(sorted(SELECTORS))}")
    return SELECTORS[name]
