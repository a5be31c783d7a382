"""Checks on what a profile says; a failure names the field, the value and what it must be."""

from __future__ import annotations

import re
import reprlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from headrouter_core.errors import ProfileError

#: Letters of a name that tables and pictures show.
LONGEST_NAME = 256


def require(ok: bool, name: str, value: object, wanted: str) -> None:
    """Raise a ProfileError unless ``ok``."""
    if not ok:
        raise ProfileError(f"{name} is {reprlib.repr(value)}; it must be {wanted}")


def check_keys(
    name: str,
    section: object,
    wanted: Sequence[str],
    *,
    more: bool = False,
    optional: Sequence[str] = (),
) -> None:
    """Raise unless ``section`` is a mapping with the ``wanted`` keys; ``more`` allows any others.

    The ``optional`` ones may be there.
    """
    if not isinstance(section, Mapping):
        raise ProfileError(f"{name} is {reprlib.repr(section)}; it must be an object with keys")
    missing = [key for key in wanted if key not in section]
    if missing:
        raise ProfileError(f"{name} lacks {', '.join(missing)}")
    unknown = sorted(set(section) - {*wanted, *optional})
    if unknown and not more:
        raise ProfileError(f"{name} has keys that schema 1 does not know: {reprlib.repr(unknown)}")


def is_whole(value: object, low: int) -> bool:
    """Whether ``value`` is an int (no bool) of at least ``low``."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def is_real(value: object, high: float = sys.float_info.max) -> bool:
    """Whether ``value`` is a number (no bool, no NaN) in [0, ``high``]."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= high


def is_number(value: object) -> bool:
    """Whether ``value`` is a number (no bool, no NaN, no infinity)."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and -sys.float_info.max <= value <= sys.float_info.max  # type: ignore[operator]


def is_name(value: object) -> bool:
    """Whether ``value`` is a text that a table or a picture can show, and not an empty one."""
    return isinstance(value, str) and 0 < len(value) <= LONGEST_NAME


def check_number(name: str, value: object) -> None:
    """Raise unless ``value`` is a number."""
    require(is_number(value), name, value, "a number")


def check_numbers(name: str, section: object, keys: Sequence[str]) -> None:
    """Raise unless ``section`` has a number under each of ``keys``; others are welcome."""
    check_keys(name, section, keys, more=True)
    for key in keys:
        check_number(f"{name}.{key}", section[key])  # type: ignore[index]


def entries(name: str, section: object) -> list[tuple[str, Any]]:
    """Return (name, value) of all that an object or a list holds, or raise where it is neither."""
    if isinstance(section, list):
        return [(f"{name}[{index}]", entry) for index, entry in enumerate(section)]
    check_keys(name, section, (), more=True)
    return [(f"{name}.{key}", entry) for key, entry in section.items()]  # type: ignore[attr-defined]


def is_sha256(value: object) -> bool:
    """Whether ``value`` is a sha256 in lower-case hexadecimal."""
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None
