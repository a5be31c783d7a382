"""The route of adaptive segments, chosen by cross-validation after everything of HeadRouter's.

It uses the fitted head weights and the fitted routing, so it comes last. Weights, centers and
bandwidth that judge a sample were never fitted on its fold. The other settings are not fitted: ten
samples a category do not tell them apart. Theirs are the selector's defaults, with which answers
stayed closest to the unpruned model's (KL divergence) while it was made, on 540 scenes of 10 s and
180 of 30 s from tiny-omni's calibration clips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from calibrate.estimation.bench import Bench
from calibrate.estimation.choosing.fitting import Routing, fit_routing
from calibrate.estimation.choosing.material import (
    Candidate,
    Material,
    Tick,
    routed_weights,
    spreads_of,
)
from calibrate.estimation.samples.sample import FOLDS
from headrouter_core import routing, scoring
from headrouter_core.selectors import Selection
from headrouter_core.selectors.adaptive_segments import DEFAULTS, segments

#: See :class:`headrouter_core.AdaptiveSegments`.
ROUTES = ("auto", *routing.GROUPS)


@dataclass(frozen=True)
class SegmentChoice:
    """The chosen route, and the validated loss of each."""

    route: str
    losses: dict[str, float]

    @property
    def settings(self) -> dict[str, Any]:
        """The selector's parameters as they stand in the recipe."""
        return {**DEFAULTS, "route": self.route}


def choose_segments(
    material: Material,
    candidate: Candidate,
    text_tokens: str,
    factor: float,
    ratios: Sequence[float],
    tick: Tick,
) -> SegmentChoice:
    """Choose how head weights are mixed: the route with the lowest validated loss.

    Args:
        material: the samples.
        candidate: the chosen rule and strength of the head weights.
        text_tokens: as chosen.
        factor: of the bandwidth, as chosen.
        ratios: pruning ratios.
        tick: called once a sample.
    """
    spreads = spreads_of(material.benches, text_tokens)
    crossed = material.crossed(candidate)
    fitted = {}
    for fold in range(FOLDS):
        used = material.folds != fold
        fitted[fold] = fit_routing(spreads[used], material.acoustic[used], factor)
    losses = []
    for bench in material.benches:
        fold = bench.sample.fold
        found = []
        for route in ROUTES:
            weights = settled_weights(bench, text_tokens, route, fitted[fold], crossed[fold])
            found += [cut(bench, text_tokens, weights, DEFAULTS, ratio) for ratio in ratios]
        losses.append([outcome.nll for outcome in bench.merged(found)])
        tick()
    means = np.array(losses).reshape(len(losses), len(ROUTES), len(ratios)).mean(axis=(0, 2))
    named = {route: float(mean) for route, mean in zip(ROUTES, means, strict=True)}
    return SegmentChoice(ROUTES[int(means.argmin())], named)


def settled_weights(
    bench: Bench, text_tokens: str, route: str, fitted: Routing, weights: torch.Tensor
) -> torch.Tensor:
    """The head weights [H] of a sample by a route: mixed by its spread, or one vector always."""
    if route == "auto":
        return routed_weights(bench, text_tokens, fitted, weights)
    return weights[routing.GROUPS.index(route)]


def cut(
    bench: Bench,
    text_tokens: str,
    weights: torch.Tensor,
    settings: Mapping[str, Any],
    ratio: float,
) -> Selection:
    """What adaptive segments keep with given head weights [H]."""
    importance = scoring.importance(bench.probe(text_tokens), weights)
    k = scoring.keep_count(bench.audio_tokens, ratio)
    change, sharpness, merge = (settings[name] for name in ("change", "sharpness", "merge"))
    return segments(importance, bench.states, k, change, sharpness, merge)
