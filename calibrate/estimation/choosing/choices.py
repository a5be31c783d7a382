"""The choices of a calibration, each made by cross-validation over folds that share no recording.

Order (design section 3): ablation -> head weights -> prefilter exponent and text tokens (with the
fitted weights only) -> bandwidth -> route -> settings of adaptive segments. What judges a sample
was never fitted on its fold. Every choice is the simplest within one standard error of the best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from calibrate.estimation.ablation import EXPONENT, TEXT_TOKENS
from calibrate.estimation.bench import Bench, kept_by
from calibrate.estimation.choosing.fitting import BANDWIDTH_FACTORS
from calibrate.estimation.choosing.material import (
    Candidate,
    Material,
    Router,
    Tick,
    as_weights,
    candidates,
    group_row,
    routed_weights,
)
from calibrate.estimation.choosing.segmenting import SegmentChoice, choose_segments, cut
from calibrate.terminal.progress import Progress
from headrouter_core import routing
from headrouter_core.selectors import Selection

#: From the simplest, which scores least, to the boldest.
EXPONENTS = (1.0, 0.75, 0.5, 0.25, 0.0)
#: Without an order: none is simpler than another, or fits more to the samples.
TEXTS = ("all", "after", "last")
#: From the simplest to the boldest: what needs no calibration, no group, one group, the spread, a
#: rule of H + 1 numbers.
ROUTES = ("uniform", "pooled", "semantic", "acoustic", "auto", "hard", "selectivity")

#: Recipe -> text tokens and routes to choose from. ``paper`` is arXiv 2604.23717: every input is
#: mixed by its spread (Eq. 12-14), and the last text token is not probed alone.
RECIPES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "best": (TEXTS, ROUTES),
    "paper": (("all", "after"), ("auto",)),
}

_POOLED = routing.VECTORS.index("pooled")


@dataclass(frozen=True)
class WeightChoice:
    """The chosen rule and strength, and the validated loss of every candidate."""

    candidate: Candidate
    losses: dict[str, float]


def choose_weights(material: Material, ratios: Sequence[float], tick: Tick) -> WeightChoice:
    """Choose rule and strength; each sample is judged with the vector of its own group."""
    tried = candidates(material.ablation.kinds)
    crossed = [material.crossed(candidate) for candidate in tried]
    alone = replace(material, others=())

    def sets(bench: Bench) -> list[torch.Tensor]:
        probe, row = bench.probe(TEXT_TOKENS), group_row(bench)
        return [
            kept_by(probe, weights[bench.sample.fold][row], ratio, EXPONENT)
            for weights in crossed
            for ratio in ratios
        ]

    names = [f"{candidate.rule}/{candidate.strength:g}" for candidate in tried]
    index, means = alone.choose(alone.losses("weights", sets, tick, len(ratios)))
    return WeightChoice(tried[index], dict(zip(names, means, strict=True)))


@dataclass(frozen=True)
class ProbeChoice:
    """The chosen text tokens and prefilter exponent, and the validated loss of every pair."""

    text_tokens: str
    exponent: float
    losses: dict[str, float]


def choose_probe(
    material: Material,
    candidate: Candidate,
    texts: Sequence[str],
    ratios: Sequence[float],
    tick: Tick,
) -> ProbeChoice:
    """Choose text tokens and prefilter exponent, with the pooled vector: it needs no router yet.

    For each exponent the text tokens with the lowest loss, and of these pairs, which do have an
    order, the simplest within one standard error of the best.
    """
    crossed = material.crossed(candidate)
    pairs = [(text, exponent) for exponent in EXPONENTS for text in texts]

    def sets(bench: Bench) -> list[torch.Tensor]:
        weights = crossed[bench.sample.fold][_POOLED]
        return [
            kept_by(bench.probe(text), weights, ratio, exponent)
            for text, exponent in pairs
            for ratio in ratios
        ]

    losses = material.losses("probe", sets, tick, len(ratios))
    _, means = material.choose(losses)
    best = [
        min(range(start, start + len(texts)), key=means.__getitem__)
        for start in range(0, len(pairs), len(texts))
    ]
    index, _ = material.choose(losses[:, best])
    named = {f"{text}/{a:g}": mean for (text, a), mean in zip(pairs, means, strict=True)}
    return ProbeChoice(*pairs[best[index]], named)


@dataclass(frozen=True)
class RouteChoice:
    """The chosen route and factor of the bandwidth, and the validated losses of each."""

    route: str
    factor: float
    losses: dict[str, float]
    """By route; ``oracle``, which cannot be chosen, is the vector of the sample's true group."""
    factor_losses: dict[str, float]


def choose_route(
    material: Material,
    candidate: Candidate,
    probe: ProbeChoice,
    routes: Sequence[str],
    ratios: Sequence[float],
    tick: Tick,
) -> RouteChoice:
    """Choose the bandwidth among multiples of the pooled deviation, then the route.

    The pooled deviation itself stays unless another multiple is better by a standard error.
    """
    text, exponent = probe.text_tokens, probe.exponent
    crossed = material.crossed(candidate)
    factors = sorted(BANDWIDTH_FACTORS, key=lambda factor: (factor != 1.0, factor))
    routers = {factor: material.routers(text, factor) for factor in factors}
    others = [route for route in routes if route != "auto"]
    tried = [*(("auto", factor) for factor in factors), *((route, 1.0) for route in others)]

    def sets(bench: Bench) -> list[torch.Tensor]:
        fold = bench.sample.fold
        weights = [
            routed_weights(bench, text, route, routers[factor][fold], crossed[fold])
            for route, factor in tried
        ]
        weights.append(crossed[fold][group_row(bench)])
        return [
            kept_by(bench.probe(text), vector, ratio, exponent)
            for vector in weights
            for ratio in ratios
        ]

    losses = material.losses("route", sets, tick, len(ratios))
    chosen, factor_means = material.choose(losses[:, : len(factors)])
    columns = {"auto": chosen, **{r: len(factors) + i for i, r in enumerate(others)}}
    index, _ = material.choose(losses[:, [columns[route] for route in routes]])
    columns["oracle"] = losses.shape[1] - 1
    _, means = material.choose(losses)
    return RouteChoice(
        routes[index],
        factors[chosen],
        {name: means[column] for name, column in columns.items()},
        {f"{f:g}": m for f, m in zip(factors, factor_means, strict=True)},
    )


@dataclass(frozen=True)
class Choices:
    """Everything that was chosen, and the validated losses behind it."""

    weights: WeightChoice
    probe: ProbeChoice
    route: RouteChoice
    segments: SegmentChoice

    def named(self) -> dict[str, Any]:
        """What was chosen, as it is reported."""
        return {
            "weights_rule": self.weights.candidate.rule,
            "weights_strength": self.weights.candidate.strength,
            "text_tokens": self.probe.text_tokens,
            "prefilter_exponent": self.probe.exponent,
            "bandwidth_factor": self.route.factor,
            "route": self.route.route,
            "segments": self.segments.by_ratio,
        }

    def fit(self, material: Material) -> Fitted:
        """The profile's parameters, from all samples that take part in choices."""
        return Fitted(
            weights=as_weights(material.weights(self.weights.candidate)),
            router=material.router(self.probe.text_tokens, self.route.factor),
            route=self.route.route,
            text_tokens=self.probe.text_tokens,
            exponent=self.probe.exponent,
            settings=self.segments.settings,
        )


@dataclass(frozen=True)
class Fitted:
    """What a profile does to an input, before it is a file."""

    weights: torch.Tensor
    """float32 [4, H]."""
    router: Router
    route: str
    text_tokens: str
    exponent: float
    settings: Mapping[str, Any]
    """Of adaptive segments."""

    @property
    def routes(self) -> tuple[str, ...]:
        """What can be compared: without groups nothing but what knows of none."""
        return ROUTES if self.router.rule is not None else ("uniform", "pooled")

    def kept(self, bench: Bench, ratio: float, route: str | None = None) -> torch.Tensor:
        """The kept tokens LongTensor [k] by a route, the chosen one unless given.

        ``oracle`` is the vector of the sample's true group.
        """
        route = self.route if route is None else route
        weights = self._weights(bench, bench.sample.group if route == "oracle" else route)
        return kept_by(bench.probe(self.text_tokens), weights, ratio, self.exponent)

    def segments(self, bench: Bench, ratio: float) -> Selection:
        """What adaptive segments keep."""
        weights = self._weights(bench, self.settings["route"])
        settings = self.settings["by_ratio"][f"{ratio:g}"]
        return cut(bench, self.text_tokens, weights, settings, ratio)

    def _weights(self, bench: Bench, route: str) -> torch.Tensor:
        return routed_weights(bench, self.text_tokens, route, self.router, self.weights)


def choose(
    material: Material, ratios: Sequence[float], progress: Progress, recipe: str = "best"
) -> Choices:
    """Make all choices in their order, among what a recipe of :data:`RECIPES` allows.

    Where samples have no groups there is nothing to route by, and the route is ``pooled``.
    """
    texts, routes = RECIPES[recipe]
    count = len(material.judged)
    with progress.stage("Head weights", len(material.benches)) as tick:
        weights = choose_weights(material, ratios, tick)
    with progress.stage("Text tokens and prefilter", count) as tick:
        probe = choose_probe(material, weights.candidate, texts, ratios, tick)
    route = RouteChoice(route="pooled", factor=1.0, losses={}, factor_losses={})
    if material.grouped:
        with progress.stage("Routing", count) as tick:
            route = choose_route(material, weights.candidate, probe, routes, ratios, tick)
    with progress.stage("Adaptive segments", count) as tick:
        segments = choose_segments(
            material,
            weights.candidate,
            probe.text_tokens,
            route.factor,
            route.route,
            ratios,
            tick,
        )
    return Choices(weights, probe, route, segments)
