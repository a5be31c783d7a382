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

from calibrate.estimation.bench import Bench, asked, kept_by
from calibrate.running.journal import Journal
from calibrate.running.work import Work

#: Keep-one alone unless asked for: leave-one-out costs as much again, and was never the one that
#: predicted other samples best.
KINDS: tuple[str, ...] = ("keep_one",)
BOTH_KINDS: tuple[str, ...] = ("leave_one_out", "keep_one")
#: Text tokens and prefilter of the ablation itself; both are searched later, with fitted weights.
TEXT_TOKENS, EXPONENT = "all", 0.0


@dataclass(frozen=True)
class Ablation:
    """Loss changes of every sample, kind, ratio and head."""

    effects: np.ndarray
    """float64 [S, A, R, H], ablated minus all heads."""
    ratios: tuple[float, ...]
    kinds: tuple[str, ...]

    def by_task(
        self, tasks: Sequence[str], names: Sequence[str], clusters: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard errors [A, T, R, H]; ``names`` gives each sample's task."""
        means, errors = [], []
        for task in tasks:
            inside = [index for index, name in enumerate(names) if name == task]
            mean, error = mean_and_error(
                self.effects[inside], clusters=[clusters[index] for index in inside]
            )
            means.append(mean)
            errors.append(error)
        return np.stack(means, axis=1), np.stack(errors, axis=1)


def mean_and_error(
    rows: np.ndarray,
    strata: Sequence[str] | None = None,
    clusters: Sequence[str] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean over axis 0 and its standard error, by strata and over whole clusters.

    Strata (tasks, lengths of audio) count alike, and how far their means lie apart is no noise.
    Samples of one cluster (a speaker, a clip) are not independent: their residuals are added before
    they are squared (the cluster-robust variance of Liang and Zeger, 1986, with G/(G-1) for the G
    clusters of a stratum). Within a stratum of one cluster samples count as independent: there
    nothing tells how clusters differ. A stratum of one sample tells no spread: then there are no
    strata. A single row tells none at all: then the error is the mean's size.

    Args:
        rows: [S, ...].
        strata: of each row; all are one unless given.
        clusters: of each row; each is its own unless given.
    """
    count = len(rows)
    owner = np.arange(count) if clusters is None else _numbered(clusters)
    stratum = np.zeros(count, dtype=int) if strata is None else _numbered(strata)
    if np.bincount(stratum).min() < 2:
        stratum = np.zeros(count, dtype=int)
    number = stratum.max() + 1
    if count < 2:
        return rows.mean(axis=0), np.abs(rows.mean(axis=0))
    means, influence = [], np.empty(rows.shape)
    for index in range(number):
        inside = np.flatnonzero(stratum == index)
        found = len(set(owner[inside].tolist()))
        if found == 1:
            owner[inside] = owner.max() + 1 + np.arange(len(inside))
            found = len(inside)
        means.append(rows[inside].mean(axis=0))
        scale = np.sqrt(found / (found - 1)) / (len(inside) * number)
        influence[inside] = (rows[inside] - means[-1]) * scale
    totals = np.zeros((owner.max() + 1, *rows.shape[1:]))
    np.add.at(totals, owner, influence)
    return np.mean(means, axis=0), np.sqrt((totals**2).sum(axis=0))


def _numbered(names: Sequence[str]) -> np.ndarray:
    return np.unique(np.asarray(names), return_inverse=True)[1].reshape(-1)


def head_variants(heads: int, kinds: Sequence[str] = KINDS) -> torch.Tensor:
    """Head weights [1 + A * H, H]: all heads, then those of each kind, head by head."""
    uniform = torch.full((1, heads), 1 / heads)
    alone = torch.eye(heads)
    made = {"keep_one": alone, "leave_one_out": (1 - alone) / max(1, heads - 1)}
    return torch.cat([uniform, *(made[kind] for kind in kinds)])


def ablate(
    benches: Sequence[Bench],
    ratios: Sequence[float],
    done: Callable[[], None] = lambda: None,
    kinds: tuple[str, ...] = KINDS,
    work: Work | None = None,
) -> Ablation:
    """Run the kinds of ablation on every sample at every ratio; ``done`` is called per sample.

    What the journal of ``work`` holds is not run.
    """

    def sets(bench: Bench) -> list[torch.Tensor]:
        probe = bench.probe(TEXT_TOKENS)
        variants = head_variants(len(probe), kinds)
        return [
            kept_by(probe, weights, ratio, EXPONENT) for ratio in ratios for weights in variants
        ]

    effects = []
    for outcomes in asked(work or Work(Journal()), "ablation", benches, sets, done):
        losses = np.array([outcome.nll for outcome in outcomes]).reshape(len(ratios), -1)
        change = losses[:, 1:] - losses[:, :1]
        effects.append(change.reshape(len(ratios), len(kinds), -1).swapaxes(0, 1))
    return Ablation(np.stack(effects), tuple(ratios), kinds)
