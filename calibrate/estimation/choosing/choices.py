"""The choices of a calibration, each made by cross-validation over folds that share no recording.

Order (design section 3): ablation -> head weights -> prefilter exponent and text tokens (with the
fitted weights only) -> centers and bandwidth -> route of adaptive segments. Weights that judge a
sample were never fitted on its fold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from calibrate.estimation.ablation import EXPONENT, TEXT_TOKENS
from calibrate.estimation.bench import Bench, kept_by
from calibrate.estimation.choosing.fitting import (
    BANDWIDTH_FACTORS,
    Routing,
    fit_routing,
    one_standard_error,
)
from calibrate.estimation.choosing.material import (
    CANDIDATES,
    Candidate,
    Material,
    Tick,
    as_weights,
    group_row,
    routed_weights,
    spreads_of,
)
from calibrate.estimation.choosing.segmenting import (
    SegmentChoice,
    choose_segments,
    cut,
    settled_weights,
)
from calibrate.estimation.samples.sample import FOLDS
from calibrate.terminal.progress import Progress
from headrouter_core.selectors import Selection

EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0)
TEXTS = ("all", "after")


@dataclass(frozen=True)
class WeightChoice:
    """The chosen rule and strength, and the validated loss of every candidate."""

    candidate: Candidate
    losses: dict[str, float]


def choose_weights(material: Material, ratios: Sequence[float], tick: Tick) -> WeightChoice:
    """Choose rule and strength; bolder weights only where the folds tell them apart."""
    crossed = [material.crossed(candidate) for candidate in CANDIDATES]

    def sets(bench: Bench) -> list[torch.Tensor]:
        probe, row = bench.probe(TEXT_TOKENS), group_row(bench)
        return [
            kept_by(probe, weights[bench.sample.fold][row], ratio, EXPONENT)
            for weights in crossed
            for ratio in ratios
        ]

    losses = material.losses(sets, tick)
    losses = losses.reshape(len(losses), len(CANDIDATES), len(ratios)).mean(axis=2)
    chosen = CANDIDATES[one_standard_error(losses)]
    means = losses.mean(axis=0)
    named = {f"{c.rule}/{c.strength:g}": float(m) for c, m in zip(CANDIDATES, means, strict=True)}
    return WeightChoice(chosen, named)


@dataclass(frozen=True)
class ProbeChoice:
    """The chosen text tokens and prefilter exponent, and the validated loss of every pair."""

    text_tokens: str
    exponent: float
    losses: dict[str, float]


def choose_probe(
    material: Material, candidate: Candidate, ratios: Sequence[float], tick: Tick
) -> ProbeChoice:
    """Choose text tokens and prefilter exponent: the pair with the lowest validated loss."""
    crossed = material.crossed(candidate)
    pairs = [(text, exponent) for exponent in EXPONENTS for text in TEXTS]

    def sets(bench: Bench) -> list[torch.Tensor]:
        weights = crossed[bench.sample.fold][group_row(bench)]
        return [
            kept_by(bench.probe(text), weights, ratio, exponent)
            for text, exponent in pairs
            for ratio in ratios
        ]

    losses = material.losses(sets, tick)
    means = losses.reshape(len(losses), len(pairs), len(ratios)).mean(axis=(0, 2))
    text, exponent = pairs[int(means.argmin())]
    named = {f"{t}/{a:g}": float(m) for (t, a), m in zip(pairs, means, strict=True)}
    return ProbeChoice(text, exponent, named)


@dataclass(frozen=True)
class RoutingChoice:
    """Centers and bandwidth, how the bandwidth was chosen, and the validated losses."""

    routing: Routing
    factor: float
    losses: dict[str, float]


def choose_routing(
    material: Material,
    candidate: Candidate,
    probe: ProbeChoice,
    ratios: Sequence[float],
    tick: Tick,
) -> RoutingChoice:
    """Fit the centers, and choose the bandwidth among multiples of the pooled deviation.

    The pooled deviation itself stays unless another multiple is better by a standard error.
    """
    spreads = spreads_of(material.benches, probe.text_tokens)
    crossed = material.crossed(candidate)
    factors = sorted(BANDWIDTH_FACTORS, key=lambda factor: (factor != 1.0, factor))
    fitted = {
        (fold, factor): fit_routing(
            spreads[material.folds != fold], material.acoustic[material.folds != fold], factor
        )
        for fold in range(FOLDS)
        for factor in factors
    }

    def sets(bench: Bench) -> list[torch.Tensor]:
        text, fold = probe.text_tokens, bench.sample.fold
        return [
            kept_by(
                bench.probe(text),
                routed_weights(bench, text, fitted[fold, factor], crossed[fold]),
                ratio,
                probe.exponent,
            )
            for factor in factors
            for ratio in ratios
        ]

    losses = material.losses(sets, tick)
    losses = losses.reshape(len(losses), len(factors), len(ratios)).mean(axis=2)
    factor = factors[one_standard_error(losses)]
    means = losses.mean(axis=0)
    named = {f"{f:g}": float(m) for f, m in zip(factors, means, strict=True)}
    return RoutingChoice(fit_routing(spreads, material.acoustic, factor), factor, named)


@dataclass(frozen=True)
class Choices:
    """Everything that was chosen, and the validated losses behind it."""

    weights: WeightChoice
    probe: ProbeChoice
    routing: RoutingChoice
    segments: SegmentChoice

    def fit(self, material: Material) -> Fitted:
        """The profile's parameters, from all samples that take part in choices."""
        return Fitted(
            weights=as_weights(material.weights(self.weights.candidate)),
            routing=self.routing.routing,
            text_tokens=self.probe.text_tokens,
            exponent=self.probe.exponent,
            settings=self.segments.settings,
        )


@dataclass(frozen=True)
class Fitted:
    """What a profile does to an input, before it is a file."""

    weights: torch.Tensor
    """float32 [3, H]."""
    routing: Routing
    text_tokens: str
    exponent: float
    settings: Mapping[str, Any]
    """Of adaptive segments."""

    def kept(self, bench: Bench, ratio: float, *, uniform: bool = False) -> torch.Tensor:
        """The kept tokens LongTensor [k], routed or with the uniform vector."""
        weights = (
            self.weights[1]
            if uniform
            else routed_weights(bench, self.text_tokens, self.routing, self.weights)
        )
        return kept_by(bench.probe(self.text_tokens), weights, ratio, self.exponent)

    def segments(self, bench: Bench, ratio: float) -> Selection:
        """What adaptive segments keep."""
        weights = settled_weights(
            bench, self.text_tokens, self.settings["route"], self.routing, self.weights
        )
        return cut(bench, self.text_tokens, weights, self.settings, ratio)


def choose(material: Material, ratios: Sequence[float], progress: Progress) -> Choices:
    """Make all choices in their order."""
    count = len(material.benches)
    with progress.stage("Head weights", count) as tick:
        weights = choose_weights(material, ratios, tick)
    with progress.stage("Text tokens and prefilter", count) as tick:
        probe = choose_probe(material, weights.candidate, ratios, tick)
    with progress.stage("Routing", count) as tick:
        routing = choose_routing(material, weights.candidate, probe, ratios, tick)
    with progress.stage("Adaptive segments", count) as tick:
        segments = choose_segments(
            material, weights.candidate, probe.text_tokens, routing.factor, ratios, tick
        )
    return Choices(weights, probe, routing, segments)
