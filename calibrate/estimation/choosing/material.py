"""The samples that a calibration chooses on, their ablation, and head weights fitted to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from calibrate.estimation.ablation import Ablation
from calibrate.estimation.bench import Bench
from calibrate.estimation.choosing.fitting import STRENGTHS, Routing, head_weights
from calibrate.estimation.samples.sample import FOLDS
from headrouter_core import routing, scoring

Tick = Callable[[], None]


@dataclass(frozen=True)
class Candidate:
    """One way to turn an ablation into head weights."""

    rule: str
    strength: float


#: From the simplest to the boldest, see :func:`.fitting.one_standard_error`.
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


def spreads_of(benches: Sequence[Bench], text_tokens: str) -> np.ndarray:
    """Spread of each sample, float64 [S]."""
    return np.array([float(scoring.spread(bench.selectivity(text_tokens))) for bench in benches])


def routed_weights(
    bench: Bench, text_tokens: str, fitted: Routing, weights: torch.Tensor
) -> torch.Tensor:
    """The head weights [H] that this sample's spread routes to."""
    spread = scoring.spread(bench.selectivity(text_tokens))
    mixing = routing.mixing(spread, torch.from_numpy(fitted.centers), fitted.bandwidth)
    return routing.route_weights(mixing, weights)
