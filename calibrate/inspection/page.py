"""``headrouter inspect --page``: the verdict, the heads, the spreads, and all tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from calibrate.inspection.verdicts import METHODS, strength, verdicts
from calibrate.inspection.worth import doubts, sentences, table
from calibrate.terminal.pages import page
from headrouter_core.profile.profile import Profile
from headrouter_core.routing import GROUPS, VECTORS

#: Size of a drawing in its own units; the page stretches it.
_WIDTH, _HIGH = 960, 160
#: Points of a drawn Gaussian.
_POINTS = 120


def render(profile: Profile, name: str) -> bytes:
    """Return the page, an HTML file that holds all it shows."""
    model = profile.model
    return page(
        "calibrate.inspection",
        name=name,
        model=model.id,
        sentences=list(sentences(profile)),
        table="\n".join(table(profile.results)),
        doubts=doubts(profile),
        verdicts=verdicts(profile.results) if profile.results else [],
        width=_WIDTH,
        high=_HIGH,
        heads=list(_heads(profile)),
        even=_HIGH * (1 - 1 / model.heads / float(profile.vectors.max())),
        even_weight=1 / model.heads,
        spreads=_spreads(profile) if len(profile.tensors["calibration.spread"]) else None,
        bandwidth=profile.bandwidth,
        methods=_methods(profile.results),
        results=profile.results,
        facts=list(_facts(profile)),
    )


def _heads(profile: Profile) -> Iterator[dict[str, Any]]:
    """Yield a row of bars for each vector: x, y, width and height, weight and head."""
    full = float(profile.vectors.max())
    step = _WIDTH / profile.model.heads
    for name, weights in zip(VECTORS, profile.vectors.tolist(), strict=False):
        bars = [
            {"x": head * step, "high": _HIGH * weight / full, "head": head, "weight": weight}
            for head, weight in enumerate(weights)
        ]
        yield {"group": name, "bars": bars, "wide": step * 0.8}


def _spreads(profile: Profile) -> dict[str, Any]:
    """Return where samples lie on an axis of spreads, by group, and the curves of the routing."""
    spread = profile.tensors["calibration.spread"].numpy()
    centers, sigma = profile.centers.numpy(), profile.bandwidth
    low = float(min(spread.min(), centers.min() - 2 * sigma))
    high = float(max(spread.max(), centers.max() + 2 * sigma))

    def place(values: np.ndarray) -> list[float]:
        return [round(float(x), 1) for x in _WIDTH * (values - low) / (high - low)]

    axis = np.linspace(low, high, _POINTS)
    curves = {}
    for name, center in zip(GROUPS, centers, strict=True):
        heights = _HIGH * (1 - np.exp(-((axis - center) ** 2) / (2 * sigma**2)))
        points = zip(place(axis), heights, strict=True)
        curves[name] = {
            "points": " ".join(f"{x},{y:.1f}" for x, y in points),
            "center": float(center),
            "interval": profile.calibration.get("intervals", {}).get(f"centers.{name}"),
        }
    tasks = np.array(profile.calibration["sample_tasks"])
    groups = profile.calibration["groups"]
    rows = [
        {"task": task, "group": groups[task], "places": place(spread[tasks == task])}
        for task in profile.calibration["tasks"]
        if (tasks == task).any()
    ]
    return {"low": low, "high": high, "rows": rows, "curves": curves, "samples": len(spread)}


def _methods(results: Mapping[str, Any]) -> list[str]:
    """Return the methods of the report in the order in which they are shown elsewhere."""
    if not results:
        return []
    names = list(next(iter(results["ratios"].values()))["nll"])
    return sorted(names, key=lambda name: METHODS.index(name) if name in METHODS else len(METHODS))


def _facts(profile: Profile) -> Iterator[tuple[str, str]]:
    """Yield what has to be known to make the profile again."""
    model, recipe, calibration = profile.model, profile.recipe, profile.calibration
    yield "Model", model.id + (f" at {model.revision}" if model.revision else "")
    yield "Family", f"{model.family}, {model.layers} layers"
    yield (
        "Heads",
        f"{model.heads} query and {model.kv_heads} kv heads of {model.head_dim} in layer"
        f" {model.probe_layer}",
    )
    yield (
        "Method",
        f"{recipe.selector}, prunes before layer {recipe.layer}; text tokens:"
        f" {recipe.text_tokens}; route: {recipe.route}; prefilter exponent"
        f" {recipe.prefilter_exponent:g}",
    )
    yield "Weights from", strength(recipe)
    yield "Fingerprint", str(model.fingerprint or "none (weights cannot be compared)")
    yield "Samples", f"{len(calibration['samples'])}, manifest {calibration['manifest']}"
    yield (
        "Computed on",
        f"{calibration['device']}, {calibration['dtype']}, {calibration['attention']} attention,"
        f" seed {calibration['seed']}",
    )
    libraries = ", ".join(f"{name} {version}" for name, version in profile.versions.items())
    yield "Versions", f"headrouter {profile.version}, {libraries}"
    yield "Digest", profile.digest
