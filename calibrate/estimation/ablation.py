"""Head ablation: what each head is worth to the score that decides which tokens stay.

*Scoring* ablation: change which heads enter the importance, prune, and measure how the loss of the
reference answer changes: ablated minus all heads, in nats per answer token. *Leave-one-out* scores
without head h, *keep-one* with head h alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from calibrate.estimation.bench import Bench, kept_by

KINDS = ("leave_one_out", "keep_one")
#: Text tokens and prefilter of the ablation itself; both are searched later, with fitted weights.
TEXT_TOKENS, EXPONENT = "all", 0.0


@dataclass(frozen=True)
class Ablation:
    """Loss changes of every sample, kind, ratio and head."""

    effects: np.ndarray
    """float64 [S, A, R, H], ablated minus all heads."""
    ratios: tuple[float, ...]

    def by_task(self, tasks: Sequence[str], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard errors [A, T, R, H]; ``names`` gives each sample's task."""
        means, errors = [], []
        for task in tasks:
            rows = self.effects[[index for index, name in enumerate(names) if name == task]]
            mean, error = mean_and_error(rows)
            means.append(mean)
            errors.append(error)
        return np.stack(means, axis=1), np.stack(errors, axis=1)


def mean_and_error(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over axis 0 and its standard error (the mean's size where one row tells no spread)."""
    mean = rows.mean(axis=0)
    if len(rows) < 2:
        return mean, np.abs(mean)
    return mean, rows.std(axis=0, ddof=1) / np.sqrt(len(rows))


def head_variants(heads: int) -> torch.Tensor:
    """Head weights [1 + 2H, H]: all heads, then without each head, then each head alone."""
    uniform = torch.full((1, heads), 1 / heads)
    alone = torch.eye(heads)
    without = (1 - alone) / max(1, heads - 1)
    return torch.cat([uniform, without, alone])


def ablate(
    benches: Sequence[Bench], ratios: Sequence[float], done: Callable[[], None] = lambda: None
) -> Ablation:
    """Run both kinds of ablation on every sample at every ratio; ``done`` is called per sample."""
    effects = []
    for bench in benches:
        probe = bench.probe(TEXT_TOKENS)
        variants = head_variants(len(probe))
        sets = [
            kept_by(probe, weights, ratio, EXPONENT) for ratio in ratios for weights in variants
        ]
        losses = np.array([outcome.nll for outcome in bench.outcomes(sets)])
        losses = losses.reshape(len(ratios), len(variants))
        change = losses[:, 1:] - losses[:, :1]
        effects.append(change.reshape(len(ratios), len(KINDS), -1).swapaxes(0, 1))
        done()
    return Ablation(np.stack(effects), tuple(ratios))
