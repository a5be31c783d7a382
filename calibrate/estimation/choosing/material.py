"""The samples that a calibration chooses on, their ablation, and what is fitted to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from calibrate.estimation.ablation import Ablation, mean_and_error
from calibrate.estimation.bench import Bench, Question, asked
from calibrate.estimation.choosing.fitting import (
    STRENGTHS,
    Routing,
    fit_routing,
    fit_rule,
    head_weights,
    one_standard_error,
    ungrouped_routing,
    utilities,
)
from calibrate.estimation.samples.sample import FOLDS, UNGROUPED
from calibrate.running.journal import Journal
from calibrate.running.work import Work
from headrouter_core import routing, scoring

Tick = Callable[[], None]


@dataclass(frozen=True)
class Candidate:
    """One way to turn an ablation into head weights."""

    rule: str
    strength: float


def candidates(kinds: Sequence[str]) -> tuple[Candidate, ...]:
    """From the simplest to the boldest, see :func:`.fitting.one_standard_error`."""
    bolder = (Candidate(rule, s) for s in STRENGTHS[1:] for rule in kinds)
    return (Candidate("uniform", 0.0), *bolder)


@dataclass(frozen=True)
class Router:
    """All that a route may need, fitted to some samples."""

    routing: Routing
    rule: np.ndarray | None
    """float64 [H + 1], see :func:`.fitting.fit_rule`; None where samples have no groups."""


@dataclass(frozen=True)
class Material:
    """The samples that take part in the choices, and the ablation of those that are fitted to."""

    benches: Sequence[Bench]
    """What head weights, centers and rules are fitted to."""
    ablation: Ablation
    """Of ``benches``."""
    others: Sequence[Bench] = ()
    """Samples of other lengths: how text is probed and how inputs are routed is judged on these
    too, because what wins at one length may lose at another."""
    work: Work = field(default_factory=lambda: Work(Journal()))
    """Asks the samples; what its journal holds is not run."""

    @property
    def judged(self) -> list[Bench]:
        """All samples, in the order of :meth:`losses`."""
        return [*self.benches, *self.others]

    @property
    def acoustic(self) -> np.ndarray:
        """Boolean [S]: which of ``benches`` are of the acoustic group."""
        return np.array([bench.sample.group == "acoustic" for bench in self.benches])

    @property
    def grouped(self) -> bool:
        """Whether it is known of which group the samples are."""
        return not any(bench.sample.group == UNGROUPED for bench in self.benches)

    @property
    def folds(self) -> np.ndarray:
        """Fold of each of ``benches``, int [S]."""
        return np.array([bench.sample.fold for bench in self.benches])

    def weights(self, candidate: Candidate, without: int | None = None) -> np.ndarray:
        """Weight vectors [4, H] (semantic, uniform, acoustic, pooled), fitted without one fold."""
        heads = self.ablation.effects.shape[-1]
        uniform = np.full(heads, 1 / heads)
        if candidate.rule == "uniform":
            return np.stack([uniform] * len(routing.VECTORS))
        used = self.folds != without
        pooled = self._fitted(used, candidate)
        semantic, acoustic = (
            (self._fitted(used & side, candidate) for side in (~self.acoustic, self.acoustic))
            if self.grouped
            else (pooled, pooled)
        )
        return np.stack([semantic, uniform, acoustic, pooled])

    def _fitted(self, chosen: np.ndarray, candidate: Candidate) -> np.ndarray:
        samples = [b.sample for b, used in zip(self.benches, chosen, strict=True) if used]
        utility, error = utilities(
            self.ablation.effects[chosen][:, self.ablation.kinds.index(candidate.rule)],
            candidate.rule,
            [sample.task for sample in samples],
            [sample.cluster for sample in samples],
        )
        return head_weights(utility, error, candidate.strength)

    def crossed(self, candidate: Candidate) -> dict[int, torch.Tensor]:
        """Fold -> weight vectors float32 [4, H] fitted on the other folds."""
        return {fold: as_weights(self.weights(candidate, fold)) for fold in range(FOLDS)}

    def router(self, text_tokens: str, factor: float, without: int | None = None) -> Router:
        """Centers, bandwidth and rule, fitted without one fold."""
        used = self.folds != without
        if not self.grouped:
            return Router(ungrouped_routing(spreads_of(self.benches, text_tokens)[used]), None)
        selectivities = torch.stack([bench.selectivity(text_tokens) for bench in self.benches])
        spreads = spreads_of(self.benches, text_tokens)
        return Router(
            fit_routing(spreads[used], self.acoustic[used], factor),
            fit_rule(selectivities.double().numpy()[used], self.acoustic[used]),
        )

    def routers(self, text_tokens: str, factor: float) -> dict[int, Router]:
        """Fold -> what is fitted on the other folds."""
        return {fold: self.router(text_tokens, factor, fold) for fold in range(FOLDS)}

    def losses(self, stage: str, sets: Question, tick: Tick, ratios: int = 1) -> np.ndarray:
        """Losses [S, C] of all judged samples, means over ratios.

        Args:
            stage: a name that no other question has.
            sets: gives C * ``ratios`` kept sets of each, ratios varying fastest.
            tick: called once a sample.
            ratios: how many.
        """
        rows = asked(self.work, stage, self.judged, sets, tick)
        return averaged([[outcome.nll for outcome in row] for row in rows], ratios)

    @property
    def strata(self) -> list[str]:
        """Task and, of the samples of other lengths, length: what counts alike in a choice."""
        names = [bench.sample.task for bench in self.benches]
        return names + [f"{b.sample.task} {b.audio_tokens}" for b in self.others]

    def choose(self, losses: np.ndarray) -> tuple[int, list[float]]:
        """Column chosen of losses [S, C], and the mean of each, all strata counting alike."""
        clusters = [bench.sample.cluster for bench in self.judged]
        means, _ = mean_and_error(losses, self.strata, clusters)
        return one_standard_error(losses, self.strata, clusters), means.tolist()


def averaged(losses: list[list[float]], ratios: int) -> np.ndarray:
    """Losses [S, C] from those of C candidates at some ratios, ratios varying fastest."""
    whole = np.array(losses)
    means: np.ndarray = whole.reshape(len(whole), -1, ratios).mean(axis=2)
    return means


def as_weights(weights: np.ndarray) -> torch.Tensor:
    """Weights as the bundle holds them, float32: a choice is judged as it will be used."""
    return torch.from_numpy(weights).to(torch.float32)


def group_row(bench: Bench) -> int:
    """The row of the sample's own group among the weight vectors: pooled if it is not known."""
    return routing.VECTORS.index(bench.sample.group)


def spreads_of(benches: Sequence[Bench], text_tokens: str) -> np.ndarray:
    """Spread of each sample, float64 [S]."""
    return np.array([float(scoring.spread(bench.selectivity(text_tokens))) for bench in benches])


def mixing_by(bench: Bench, text_tokens: str, route: str, router: Router) -> torch.Tensor:
    """The mixing [4] of a sample by a route of :data:`headrouter_core.routing.ROUTES`."""
    if route in routing.VECTORS:
        return torch.eye(len(routing.VECTORS))[routing.VECTORS.index(route)]
    selectivity = bench.selectivity(text_tokens)
    centers = torch.from_numpy(router.routing.centers)
    if route == "selectivity":
        assert router.rule is not None
        mixing = routing.selectivity_mixing(selectivity, torch.from_numpy(router.rule))
    elif route == "hard":
        mixing = routing.hard_mixing(scoring.spread(selectivity), centers)
    else:
        mixing = routing.mixing(scoring.spread(selectivity), centers, router.routing.bandwidth)
    return torch.nn.functional.pad(mixing, (0, 1))


def routed_weights(
    bench: Bench, text_tokens: str, route: str, router: Router, weights: torch.Tensor
) -> torch.Tensor:
    """The head weights [H] that a sample gets by a route, of vectors [4, H]."""
    return routing.route_weights(mixing_by(bench, text_tokens, route, router), weights)
