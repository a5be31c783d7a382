"""From ablation to profile: head weights, centers, bandwidth. Pure arithmetic in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from calibrate.estimation.ablation import mean_and_error

#: Strengths tried, in units of 1 / the deviation of a vector's utilities between heads, so that one
#: number suits groups whose utilities vary as differently as speech and sounds; 0 is uniform.
STRENGTHS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
#: Multiples of the pooled deviation tried as bandwidth.
BANDWIDTH_FACTORS = (0.5, 1.0, 2.0, 4.0)
#: Ridge penalty of the rule on standardised selectivities: that of a standard normal prior.
RIDGE = 1.0


def utilities(
    effects: np.ndarray, kind: str, strata: Sequence[str], clusters: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """How much each head helps more than the mean head, and its standard error, both [H], in nats.

    ``effects`` is [S, R, H], of one ``kind``. A head whose removal raises the loss helps
    (leave-one-out), and so does one that alone gives a low loss (keep-one). Ratios are averaged
    within each sample: they are not independent measurements. Each sample's mean over heads is
    taken off: how hard a sample is for all heads is no noise of their differences.
    """
    sign = 1.0 if kind == "leave_one_out" else -1.0
    rows = sign * effects.mean(axis=1)
    return mean_and_error(rows - rows.mean(axis=1, keepdims=True), strata, clusters)


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


def head_weights(utility: np.ndarray, error: np.ndarray, strength: float) -> np.ndarray:
    """Head weights [H]: a softmax of the shrunk utilities [H]. Sums to 1.

    ``strength`` is in units of 1 / their deviation between heads before they were shrunk: where
    most of that is noise, little is left to follow.
    """
    deviation = utility.std(ddof=1) if len(utility) > 1 else 0.0
    if deviation == 0.0:
        return np.full_like(utility, 1 / len(utility))
    scores = strength * shrunk(utility, error) / deviation
    exponential: np.ndarray = np.exp(scores - scores.max())
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


def ungrouped_routing(spreads: np.ndarray) -> Routing:
    """Centers and bandwidth of samples without groups: their mean spread, and its deviation."""
    deviation = float(spreads.std(ddof=1)) if len(spreads) > 1 else 0.0
    return Routing(np.full(3, spreads.mean()), max(deviation, 1e-6))


def fit_rule(selectivities: np.ndarray, acoustic: np.ndarray) -> np.ndarray:
    """Fit the rule [H + 1] of :func:`headrouter_core.routing.selectivity_mixing` to [S, H].

    Ridge logistic regression on standardised selectivities by Newton's method (Hastie, Tibshirani
    and Friedman, The Elements of Statistical Learning, 4.4); the constant is not penalised.
    """
    center, scale = selectivities.mean(axis=0), selectivities.std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    design = np.column_stack([(selectivities - center) / scale, np.ones(len(selectivities))])
    penalty = np.diag([RIDGE] * selectivities.shape[1] + [1e-9])
    rule = np.zeros(design.shape[1])
    for _ in range(50):
        chance = expit(design @ rule)
        slope = design.T @ (chance - acoustic) + penalty @ rule
        curvature = (design * (chance * (1 - chance))[:, None]).T @ design + penalty
        step = np.linalg.solve(curvature, slope)
        rule -= step
        if np.abs(step).max() < 1e-10:
            break
    coefficients = rule[:-1] / scale
    return np.append(coefficients, rule[-1] - coefficients @ center)


def one_standard_error(
    losses: np.ndarray, strata: Sequence[str] | None = None, clusters: Sequence[str] | None = None
) -> int:
    """The first column of [S, C] whose mean is within one standard error of the best column's.

    Columns go from the simplest candidate to the boldest; the standard error is that of the paired
    difference to the best. So a bolder choice is made only where the samples tell it apart: the
    one-standard-error rule (Breiman et al., Classification and Regression Trees, 1984; Hastie,
    Tibshirani and Friedman, The Elements of Statistical Learning, 7.10). Strata and clusters are
    those of :func:`calibrate.estimation.ablation.mean_and_error`.
    """
    best = int(mean_and_error(losses, strata, clusters)[0].argmin())
    for column in range(best):
        mean, error = mean_and_error(losses[:, column] - losses[:, best], strata, clusters)
        if mean <= error:
            return column
    return best
