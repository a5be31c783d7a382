"""The choices of a calibration, each made by cross-validation over folds that share no recording.

Order (design section 3): ablation -> head weights -> prefilter exponent and text tokens (with the
fitted weights only) -> centers and bandwidth. Weights that judge a sample were never fitted on its
fold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from calibrate.ablation import EXPONENT, TEXT_TOKENS, Ablation
from calibrate.fitting import (
    BANDWIDTH_FACTORS,
    STRENGTHS,
    Routing,
    fit_routing,
    head_weights,
    one_standard_error,
)
from calibrate.progress import Progress
from calibrate.samples import FOLDS
from calibrate.workbench import Bench, kept_by
from headrouter_core import routing, scoring

EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0)
TEXTS = ("all", "after")
Tick = Callable[[], None]


@dataclass(frozen=True)
class Candidate:
    """One way to turn an ablation into head weights."""

    rule: str
    strength: float


#: From the simplest to the boldest, see :func:`calibrate.fitting.one_standard_error`.
CANDIDATES = (
    Candidate("uniform", 0.0),
    *(Candidate(rule, s) for s in STRENGTHS[1:] for rule in ("keep_one", "leave_one_out")),
)


@dataclass(frozen=True)
class Material:
    """The samples that take part in the choices, and their ablation."""

    benches: Sequence[Bench]
    ablation: Ablation

    @property
    def acoustic(self) -> np.ndarray:
        """Boolean [S]: which samples are of the acoustic group."""
        return np.array([bench.sample.group == "acoustic" for bench in self.benches])

    @property
    def folds(self) -> np.ndarray:
        """Fold of each sample, int [S]."""
        return np.array([bench.sample.fold for bench in self.benches])

    def weights(self, candidate: Candidate, without: int | None = None) -> np.ndarray:
        """Weight vectors [3, H] (semantic, uniform, acoustic), fitted without one fold."""
        heads = self.ablation.effects.shape[-1]
        uniform = np.full(heads, 1 / heads)
        if candidate.rule == "uniform":
            return np.stack([uniform] * 3)
        used = self.folds != without
        fitted = [
            head_weights(self.ablation.effects[used & side], candidate.rule, candidate.strength)
            for side in (~self.acoustic, self.acoustic)
        ]
        return np.stack([fitted[0], uniform, fitted[1]])

    def crossed(self, candidate: Candidate) -> dict[int, torch.Tensor]:
        """Fold -> weight vectors float32 [3, H] fitted on the other folds."""
        return {fold: as_weights(self.weights(candidate, fold)) for fold in range(FOLDS)}

    def losses(self, sets: Callable[[Bench], list[torch.Tensor]], tick: Tick) -> np.ndarray:
        """Losses [S, number of sets] of each sample's kept sets."""
        rows = []
        for bench in self.benches:
            rows.append([outcome.nll for outcome in bench.outcomes(sets(bench))])
            tick()
        return np.array(rows)


def as_weights(weights: np.ndarray) -> torch.Tensor:
    """Weights as the bundle holds them, float32: a choice is judged as it will be used."""
    return torch.from_numpy(weights).to(torch.float32)


def group_row(bench: Bench) -> int:
    """The row of the sample's own group among semantic, uniform, acoustic."""
    return routing.GROUPS.index(bench.sample.group)


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


def spreads_of(benches: Sequence[Bench], text_tokens: str) -> np.ndarray:
    """Spread of each sample, float64 [S]."""
    return np.array([float(scoring.spread(bench.selectivity(text_tokens))) for bench in benches])


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

    def fit(self, material: Material) -> Fitted:
        """The profile's parameters, from all samples that take part in choices."""
        return Fitted(
            weights=as_weights(material.weights(self.weights.candidate)),
            routing=self.routing.routing,
            text_tokens=self.probe.text_tokens,
            exponent=self.probe.exponent,
        )


@dataclass(frozen=True)
class Fitted:
    """What a profile does to an input, before it is a file."""

    weights: torch.Tensor
    """float32 [3, H]."""
    routing: Routing
    text_tokens: str
    exponent: float

    def kept(self, bench: Bench, ratio: float, *, uniform: bool = False) -> torch.Tensor:
        """The kept tokens LongTensor [k], routed or with the uniform vector."""
        weights = (
            self.weights[1]
            if uniform
            else routed_weights(bench, self.text_tokens, self.routing, self.weights)
        )
        return kept_by(bench.probe(self.text_tokens), weights, ratio, self.exponent)


def choose(material: Material, ratios: Sequence[float], progress: Progress) -> Choices:
    """Make all choices in their order."""
    count = len(material.benches)
    with progress.stage("Head weights", count) as tick:
        weights = choose_weights(material, ratios, tick)
    with progress.stage("Text tokens and prefilter", count) as tick:
        probe = choose_probe(material, weights.candidate, ratios, tick)
    with progress.stage("Routing", count) as tick:
        routing = choose_routing(material, weights.candidate, probe, ratios, tick)
    return Choices(weights, probe, routing)


def routed_weights(
    bench: Bench, text_tokens: str, fitted: Routing, weights: torch.Tensor
) -> torch.Tensor:
    """The head weights [H] that this sample's spread routes to."""
    spread = scoring.spread(bench.selectivity(text_tokens))
    mixing = routing.mixing(spread, torch.from_numpy(fitted.centers), fitted.bandwidth)
    return routing.route_weights(mixing, weights)
