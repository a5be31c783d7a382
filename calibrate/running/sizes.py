"""Sizes of memory as people write them."""

from __future__ import annotations

import re

from headrouter_core.errors import UsageError

_UNITS = "KMGT"
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT])(i?)B", re.IGNORECASE)


def parse_size(option: str, text: str) -> int:
    """Return the bytes that a text such as ``8GiB``, ``500 MB`` or ``0`` names.

    Raises:
        UsageError: naming the option, for anything else.
    """
    if text.strip() == "0":
        return 0
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"{option} {text!r} is no size; give a number and a unit, such as 8GiB")
    base, power = 1024 if found[3] else 1000, _UNITS.index(found[2].upper()) + 1
    return round(float(found[1]) * float(base**power))
