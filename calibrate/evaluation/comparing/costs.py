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

    prepare_seconds: float
    """From the recording to the model's inputs: features, and shortening where there is any."""
    encoder_seconds: float
    """Of the prefill, up to the first decoder layer."""
    prefill_seconds: float
    """Audio encoder included."""
    decode_seconds_per_token: float
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
        rows = zip(*(item["systems"][place] for item in items), strict=True)
        means = [None if None in values else fmean(values) for values in rows]
        found[method, ratio] = Cost(**dict(zip(timing["columns"], means, strict=True)))
    return found
