"""The methods that an evaluation compares: selectors, the paper's ablations, shorter recordings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from calibrate.evaluation.asking.shorter import Shortening
from calibrate.models.selecting import takes_profile
from headrouter_core.errors import UsageError
from headrouter_core.selectors import SELECTORS, Frame, HeadRouter, Registered

#: Ablations of HeadRouter (arXiv 2604.23717, section 4 and Fig. 2) -> its arguments.
ABLATIONS: dict[str, dict[str, Any]] = {
    "headrouter:auto": {"route": "auto"},
    "headrouter:hard": {"route": "hard"},
    "headrouter:no-router": {"route": "uniform"},
    "headrouter:no-prefilter": {"exponent": 0.0},
    "headrouter:semantic": {"route": "semantic"},
    "headrouter:acoustic": {"route": "acoustic"},
    "headrouter:swapped": {"route": "swapped"},
}

#: The tempo up to which speech loses little: in public studies 1.5 costs 2.4 % of words, and 2
#: costs 8 %.
_GENTLE = 1.5
#: What people do instead -> what is done to the recording, and whether Frame prunes what is left.
SHORTER: dict[str, tuple[Shortening, bool]] = {
    "stretch": (Shortening(fastest=math.inf), False),
    "no-silence": (Shortening(silence=True), False),
    "no-silence:stretch": (Shortening(silence=True, fastest=math.inf), False),
    "no-silence:stretch+frame": (Shortening(silence=True, fastest=_GENTLE), True),
}


@dataclass(frozen=True)
class Method:
    """A selector with its settings, under the name that results know it by."""

    name: str
    kind: type[Registered]
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    shortening: Shortening | None = None
    """What is done to the recording before."""
    prunes: bool = True
    """Whether the selector prunes; else all that is heard is kept."""

    @property
    def takes_profile(self) -> bool:
        """Whether it is calibrated."""
        return takes_profile(self.kind)

    @property
    def settings(self) -> dict[str, Any]:
        """What it does, as results name it."""
        named: dict[str, Any] = {"selector": self.kind.name if self.prunes else None}
        if self.shortening is not None:
            named["silence"] = self.shortening.silence
            named["fastest"] = (
                None if self.shortening.fastest == math.inf else self.shortening.fastest
            )
        return {**named, **self.options}


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        *(Method(name, kind) for name, kind in SELECTORS.items()),
        *(Method(name, HeadRouter, options) for name, options in ABLATIONS.items()),
        *(
            Method(name, Frame, shortening=shortening, prunes=prunes)
            for name, (shortening, prunes) in SHORTER.items()
        ),
    )
}


def parse_methods(text: str) -> list[Method]:
    """Return the methods of a comma-separated list, or of ``all``, in the order of ``METHODS``.

    Raises:
        UsageError: an unknown name, listing the known ones, or none at all.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError(f"no method is given; known are all, {', '.join(METHODS)}")
    unknown = next((name for name in names if name not in METHODS and name != "all"), None)
    if unknown is not None:
        raise UsageError(f"there is no method {unknown!r}; known are all, {', '.join(METHODS)}")
    return [method for name, method in METHODS.items() if name in names or "all" in names]
