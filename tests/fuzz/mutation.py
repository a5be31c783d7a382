"""Damaging bytes and JSON at random, each the same way again for the same seed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from random import Random
from typing import Any

#: Values that readers tend to trip over, in the place of whatever was there.
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**400, -0.0, 1e-300, 1e300, 0.5,
    "", " ", "0", "NaN", "../../x", "[/bold]", "[link=x]", "\x1b[2J", "$\\frac{", "<script>",
    "\ud800", "\u202e", "x" * 100_000, [], {}, [[]], [None], [{}], {"": 0},
)  # fmt: skip


def damaged(data: bytes, random: Random) -> bytes:
    """Return ``data`` with one to four places changed."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 4)):
        random.choice(_EDITS)(changed, random)
    return bytes(changed)


def _flip(data: bytearray, random: Random) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _overwrite(data: bytearray, random: Random) -> None:
    """Put a number that lengths and counts are compared with, of any width and byte order."""
    width = random.choice((1, 2, 4, 8))
    bits = 8 * width
    number = random.choice((0, 1, 2**bits - 1, 2 ** (bits - 1), random.getrandbits(8)))
    place = random.randrange(len(data) + 1)
    data[place : place + width] = number.to_bytes(width, random.choice(("little", "big")))


def _cut(data: bytearray, random: Random) -> None:
    del data[random.randrange(len(data) + 1) :]


def _remove(data: bytearray, random: Random) -> None:
    start = random.randrange(len(data) + 1)
    del data[start : start + random.randint(1, 64)]


def _repeat(data: bytearray, random: Random) -> None:
    start = random.randrange(len(data) + 1)
    data[start:start] = data[start : start + random.randint(1, 4096)]


def _insert(data: bytearray, random: Random) -> None:
    start = random.randrange(len(data) + 1)
    data[start:start] = random.randbytes(random.randint(1, 64))


_EDITS: tuple[Callable[[bytearray, Random], None], ...] = (
    _flip, _flip, _overwrite, _cut, _remove, _repeat, _insert,
)  # fmt: skip


def altered(value: Any, random: Random) -> Any:
    """Return a copy of a JSON value with one to three of its parts changed."""
    box = [copy.deepcopy(value)]
    for _ in range(random.randint(1, 3)):
        holder, key = random.choice(list(_places(box)))
        edit = random.randrange(5)
        if edit == 0 and holder is not box:
            del holder[key]
        elif edit == 1 and isinstance(holder, dict):
            holder[random.choice(("", "x", "speaker", "[b]"))] = random.choice(ODD)
        elif edit == 2 and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        elif edit == 3:
            holder[key] = [holder[key]]
        else:
            holder[key] = copy.deepcopy(random.choice(ODD))
    return box[0]


def _places(holder: Any) -> Any:
    """Yield every container and key below ``holder``, as they are now."""
    keys = range(len(holder)) if isinstance(holder, list) else list(holder)
    for key in keys:
        yield holder, key
        if isinstance(holder[key], list | dict) and holder[key]:
            yield from _places(holder[key])
