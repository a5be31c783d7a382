"""What a system costs, averaged over the timed items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from calibrate.evaluation.scoring.systems import System


@dataclass(frozen=True)
class Cost:
    """Means over items of the medians over runs."""

    prefill_seconds: float
    """Audio encoder included."""
    decode_seconds: float
    """Of each token after the first."""
    peak_bytes: float | None
    """Of GPU memory, weights included; ``None`` where there is no CUDA."""


def costs_of(timing: Mapping[str, Any]) -> dict[System, Cost]:
    """Read what ``timing.measure`` found; empty where nothing was timed."""
    items = timing.get("items", [])
    if not items:
        return {}
    found = {}
    for place, (method, ratio) in enumerate(timing["systems"]):
        prefill, decode, peak = zip(*(item["systems"][place] for item in items), strict=True)
        bytes_ = None if None in peak else fmean(peak)
        found[method, ratio] = Cost(fmean(prefill), fmean(decode), bytes_)
    return found
