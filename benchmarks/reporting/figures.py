"""Numbers as people read them."""

from __future__ import annotations

from typing import Any


def number(values: dict[str, Any], form: str, scale: float = 1) -> str:
    """Return a median and half the distance of the quartiles."""
    low, high = values["quartiles"]
    spread = form.replace("+", "").format((high - low) / 2 * scale)
    return f"{form.format(values['median'] * scale)} ± {spread}"


def milliseconds(values: dict[str, Any]) -> str:
    """Return seconds as milliseconds."""
    return number(values, "{:.1f}", 1000)


def times(values: dict[str, Any]) -> str:
    """Return a ratio."""
    return number(values, "{:.2f}")


def percent(values: dict[str, Any], sign: str = "") -> str:
    """Return a share in percent."""
    return number(values, f"{{:{sign}.2f}}", 100)


def share(value: float | None) -> str:
    """Return a share, and nothing where there is none."""
    return "" if value is None else f"{value:.2f}"


def mebibytes(value: int | None) -> str:
    """Return bytes in MiB, and nothing where there are none."""
    return "" if value is None else f"{value / 2**20:.0f}"
