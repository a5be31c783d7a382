"""Checks on what a caller passes; a failure names the argument, the value and what it must be."""

from __future__ import annotations

import numbers
import operator
import reprlib
from collections.abc import Collection
from typing import SupportsIndex, cast

import torch

from headrouter_core.errors import UsageError


def shown(value: object) -> str:
    """Return a value as a message shows it: tensors by type and shape, the rest cut short."""
    if isinstance(value, torch.Tensor):
        return f"a {value.dtype} tensor {list(value.shape)}"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return reprlib.repr(value)


def whole(name: str, value: object, low: int | None = None) -> int:
    """Return a whole number, of at least ``low``; neither bool, float nor tensor is one.

    Raises:
        UsageError: ``value`` is none.
    """
    reach = "" if low is None else f" from {low} up"
    if isinstance(value, bool | torch.Tensor) or not hasattr(type(value), "__index__"):
        raise UsageError(f"{name} is {shown(value)}; it must be a whole number{reach}")
    number = operator.index(cast(SupportsIndex, value))
    if low is not None and number < low:
        raise UsageError(f"{name} is {number}; it must be a whole number{reach}")
    return number


def real(name: str, value: object, low: float, high: float, hint: str = "") -> float:
    """Return a number in [``low``, ``high``]; neither bool, NaN, string nor tensor is one.

    Raises:
        UsageError: ``value`` is none; ``hint`` says what the ends mean.
    """
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or not low <= cast(float, value) <= high:
        more = f"; {hint}" if hint else ""
        what = "is outside" if number else "is no number in"
        raise UsageError(f"{name} {shown(value)} {what} [{low:g}, {high:g}]{more}")
    return float(cast(float, value))


def one_of(name: str, value: object, known: Collection[str]) -> str:
    """Return one of some names.

    Raises:
        UsageError: ``value`` is none; the message lists them.
    """
    if not isinstance(value, str) or value not in known:
        raise UsageError(f"{name} is {shown(value)}; known are {', '.join(known)}")
    return value


def floating(name: str, value: object, shape: str, *, empty: bool = False) -> torch.Tensor:
    """Return a floating tensor of as many dimensions as ``shape`` names.

    Args:
        name: the argument's.
        value: what was passed.
        shape: as docstrings write it, say ``"[H, N_a]"``; a number in it is that size.
        empty: let a dimension be 0.

    Raises:
        UsageError: ``value`` is none.
    """
    sizes = [part for part in shape.strip("[]").split(", ") if part]
    if isinstance(value, torch.Tensor) and value.is_floating_point() and (empty or value.numel()):
        named = zip(sizes, value.shape, strict=False)
        if value.ndim == len(sizes) and all(not s.isdigit() or int(s) == n for s, n in named):
            return value
    some = "" if empty else ", not empty"
    raise UsageError(f"{name} is {shown(value)}; it must be a floating tensor {shape}{some}")
