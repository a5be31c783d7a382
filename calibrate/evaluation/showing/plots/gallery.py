"""Which pictures an evaluation has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from calibrate.evaluation.comparing.costs import costs_of
from calibrate.evaluation.comparing.results import Results
from calibrate.evaluation.folder import Folder, write
from calibrate.evaluation.showing.plots import heads, kept, scores
from calibrate.evaluation.showing.plots.canvas import styles
from calibrate.evaluation.showing.wording import in_families
from headrouter_core.errors import HeadRouterError


def pictures(found: Results, timing: Mapping[str, Any], dark: bool) -> dict[str, bytes]:
    """Return name -> PNG of everything but the examples; what there is no data for is not there."""
    drawn: dict[str, bytes] = {}
    if found.averages:
        plain = [name for name in found.methods if ":" not in name] or found.methods
        variants = [name for name in in_families(found.methods) if _varied(found, name)]
        drawn["score-by-ratio"] = scores.against_ratio(found, plain, "Methods", dark)
        if variants and plain != found.methods:
            drawn["score-by-ratio-variants"] = scores.against_ratio(
                found, variants, "Variants", dark
            )
        drawn |= _costly(found, plain, timing, dark)
    method = heads.routed_method(found)
    if method is not None:
        drawn["routing"] = heads.routing(found, method, dark)
    drawn["selectivity"] = heads.heatmap(found, dark)
    drawn["samples"] = heads.plane(found, dark)
    return drawn


def examples_drawn(
    found: Results,
    examples: Mapping[str, Any],
    folder: Folder,
    dark: bool,
    ratio: float | None = None,
) -> list[bytes]:
    """Return the PNG of every example: who kept what at a ratio, or else at the largest.

    Raises:
        HeadRouterError: its sound is missing or damaged.
    """
    drawn = []
    ratio = max(found.ratios) if ratio is None else ratio
    for example in examples.get("items", []):
        read = [_sound(folder.sound(audio["file"])) for audio in example["audios"]]
        masks = kept.masks_at(example, examples["systems"], ratio)
        drawn.append(
            kept.kept_tokens(
                example,
                {name: masks[name] for name in in_families(list(masks))},
                styles(found.methods),
                [samples for samples, _ in read],
                read[0][1],
                examples["seconds_per_token"],
                f"{example['id']}: what is kept at ratio {ratio:g}",
                dark,
            )
        )
    return drawn


def write_all(
    found: Results, timing: Mapping[str, Any], examples: Mapping[str, Any], folder: Folder
) -> None:
    """Write all pictures as files, in place of those of an earlier run."""
    drawn = pictures(found, timing, dark=False)
    for number, picture in enumerate(examples_drawn(found, examples, folder, dark=False)):
        drawn[f"kept-{number}"] = picture
    for name, picture in drawn.items():
        write(folder.plots / f"{name}.png", picture)


def _sound(path: Path) -> tuple[np.ndarray, int]:
    """Return the samples and the rate of an example."""
    try:
        samples, rate = soundfile.read(path, dtype="float32")
    except soundfile.LibsndfileError as error:
        raise HeadRouterError(
            f"{path} is damaged ({error.error_string}); remove it and run headrouter evaluate again"
        ) from error
    return samples, rate


def _varied(found: Results, name: str) -> bool:
    """Whether a method is a variant, or has some here."""
    return ":" in name or any(other.startswith(f"{name}:") for other in found.methods)


def _costly(
    found: Results, methods: Sequence[str], timing: Mapping[str, Any], dark: bool
) -> dict[str, bytes]:
    """Scores against what was measured of costs."""
    costs = costs_of(timing)
    axes = {
        "prefill": ("prefill_seconds", "prefill, audio encoder included (ms)", 1e3),
        "memory": ("peak_bytes", "peak GPU memory, weights included (MiB)", 2**-20),
    }
    return {
        f"score-by-{name}": scores.against_cost(found, methods, costs, *axis, dark)
        for name, axis in axes.items()
        if costs and all(getattr(cost, axis[0]) is not None for cost in costs.values())
    }
