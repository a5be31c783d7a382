"""From ablation to profile: head weights, centers, bandwidth. Pure arithmetic in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibrate.estimation.ablation import KINDS, mean_and_error

#: Strengths tried, in units of 1/nat; 0 is uniform weights.
STRENGTHS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
#: Multiples of the pooled deviation tried as bandwidth.
BANDWIDTH_FACTORS = (0.5, 1.0, 2.0, 4.0)


def utilities(effects: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """How much each head helps, and its standard error, both [H], in nats per answer token.

    ``effects`` is [S, A, R, H]. A head whose removal raises the loss helps (leave-one-out), and so
    does one that alone gives a low loss (keep-one). Ratios are averaged within each sample first:
    they are not independent measurements.
    """
    sign = 1.0 if kind == "leave_one_out" else -1.0
    return mean_and_error(sign * effects[:, KINDS.index(kind)].mean(axis=1))


def shrunk(utility: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Utilities [H] pulled to their mean by the noise of the estimate (empirical Bayes).

    The variance between heads that is left after the mean squared standard error is signal; each
    head keeps the share signal / (signal + its own squared error) of its deviation.
    """
    center: float = utility.mean()
    signal = max(0.0, float(utility.var(ddof=1) - np.mean(error**2))) if len(utility) > 1 else 0.0
    if signal == 0.0:
        return np.full_like(utility, center)
    kept: np.ndarray = (utility - center) * signal / (signal + error**2)
    return center + kept


def head_weights(effects: np.ndarray, kind: str, strength: float) -> np.ndarray:
    """Head weights [H]: a softmax of ``strength`` times the shrunk utilities. Sums to 1."""
    utility = shrunk(*utilities(effects, kind))
    scores = strength * (utility - utility.max())
    exponential: np.ndarray = np.exp(scores)
    weights: np.ndarray = exponential / exponential.sum()
    return weights


@dataclass(frozen=True)
class Routing:
    """Centers and bandwidth, in units of spread."""

    centers: np.ndarray
    """float64 [3]: semantic, uniform, acoustic."""
    bandwidth: float


def fit_routing(spreads: np.ndarray, acoustic: np.ndarray, factor: float = 1.0) -> Routing:
    """Centers: each group's mean spread and, for uniform, their midpoint.

    Bandwidth: ``factor`` times the pooled deviation of the spread within the two groups. No order
    of the centers is assumed. Raises ``ValueError`` where a group has no sample.
    """
    groups = [spreads[~acoustic], spreads[acoustic]]
    if not all(len(group) for group in groups):
        raise ValueError("both groups need samples")
    semantic, other = (float(group.mean()) for group in groups)
    centers = np.array([semantic, (semantic + other) / 2, other])
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    pooled = np.sqrt(squares / max(1, len(spreads) - 2))
    # one value of spread for all samples leaves no deviation: any width above rounding will do
    return Routing(centers, float(max(factor * pooled, 1e-6)))


def one_standard_error(losses: np.ndarray) -> int:
    """The first column of [S, C] whose mean is within one standard error of the best column's.

    Columns go from the simplest candidate to the boldest; the standard error is that of the paired
    difference to the best. So a bolder choice is made only where the samples tell it apart.
    """
    best = int(losses.mean(axis=0).argmin())
    for column in range(best):
        mean, error = mean_and_error(losses[:, column] - losses[:, best])
        if mean <= error:
            return column
    return best


def bootstrap_interval(
    values: np.ndarray, clusters: list[str], rng: np.random.Generator, repeats: int = 2000
) -> tuple[float, float]:
    """95 % interval of the mean of ``values`` [S]: percentile bootstrap over whole clusters."""
    names = sorted(set(clusters))
    index = {name: position for position, name in enumerate(names)}
    owner = np.array([index[name] for name in clusters])
    sums = np.bincount(owner, weights=values, minlength=len(names))
    counts = np.bincount(owner, minlength=len(names)).astype(float)
    draws = rng.integers(0, len(names), size=(repeats, len(names)))
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
