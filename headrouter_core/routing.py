"""From the spread of one input to its head weights: equations 12-14 of arXiv 2604.23717.

Like those of :mod:`headrouter_core.scoring`, these functions compute in float32 or better, and
raise ``UsageError`` where a shape or dtype is another than they name.
"""

from __future__ import annotations

import math

import torch

from headrouter_core.basics.arguments import floating, real, shown
from headrouter_core.basics.precision import accumulating, full_precision
from headrouter_core.errors import UsageError

#: Order of head weights, centers and mixing everywhere.
GROUPS = ("semantic", "uniform", "acoustic")

#: The head weights that a profile may hold: those of Eq. 12-14, then those fitted on all samples
#: without their group, which are what routing has to beat. A mixing has a share for each.
VECTORS = (*GROUPS, "pooled")

#: How the head weights of an input come about: by its spread (Eq. 12-13), by the nearest center, by
#: a logistic rule on its selectivities, or one vector always.
ROUTES = ("auto", "hard", "selectivity", *VECTORS)


def mixing(
    spread: torch.Tensor, centers: torch.Tensor, bandwidth: float | torch.Tensor
) -> torch.Tensor:
    """Return alpha, Eq. 12-13: normalised Gaussian affinities of a spread to the three centers.

    Computed as a softmax of ``-(spr - mu_c)^2 / (2 sigma^2)`` relative to the nearest center, whose
    exponent is thus exactly 0: no bandwidth, however small, makes 0/0.

    Args:
        spread: scalar.
        centers: [3], semantic, uniform, acoustic; taken in the spread's dtype.
        bandwidth: sigma_G > 0, in units of spread; as a tensor, of one element.

    Returns:
        [3], semantic, uniform, acoustic; sums to 1.

    Raises:
        UsageError: a bandwidth that is no single number, or, given as a number, not above 0.
    """
    distance = _distance(spread, centers)
    if isinstance(bandwidth, torch.Tensor):
        if bandwidth.numel() != 1 or bandwidth.is_complex():
            raise UsageError(f"bandwidth is {shown(bandwidth)}; it is one real number")
        bandwidth = bandwidth.to(distance)
    elif not real("bandwidth", bandwidth, 0, math.inf, "it is a spread's deviation") > 0:
        raise UsageError(f"bandwidth {bandwidth} is not above 0; it is a spread's deviation")
    nearest = distance.min()
    excess = (distance - nearest) / bandwidth * ((distance + nearest) / bandwidth)
    return (excess.masked_fill(distance == nearest, 0) / -2).softmax(0)


def hard_mixing(spread: torch.Tensor, centers: torch.Tensor) -> torch.Tensor:
    """Return the limit of :func:`mixing` for a vanishing bandwidth: all weight on one center.

    This is how the paper's "hard threshold" ablation is read. Ties go to the earlier group.
    """
    distance = _distance(spread, centers)
    return torch.zeros_like(distance).index_fill_(0, distance.argmin(), 1)


def selectivity_mixing(selectivity: torch.Tensor, rule: torch.Tensor) -> torch.Tensor:
    """Return the mixing [3] of a logistic rule: P(acoustic) is ``sigmoid(rule . (sel, 1))``.

    Semantic and acoustic weights are mixed by what the rule thinks of the input; uniform ones take
    no part. Instead of Eq. 12-13, for models whose spread does not tell the groups apart.

    Args:
        selectivity: [H].
        rule: [H + 1], a coefficient a head and the constant; taken in the selectivity's dtype.

    Returns:
        [3], semantic, uniform, acoustic; sums to 1.
    """
    selectivity = floating("selectivity", selectivity, "[H]")
    rule = floating("rule", rule, f"[{len(selectivity) + 1}]")
    selectivity = selectivity.to(accumulating(selectivity.dtype))
    rule = rule.to(selectivity)
    # a sum of products: a dot product of two vectors may be rounded to TF32 or bfloat16 on a GPU
    score = (rule[:-1] * selectivity).sum() + rule[-1]
    acoustic = score.sigmoid()
    return torch.stack([1 - acoustic, torch.zeros_like(acoustic), acoustic])


def route_weights(mixing: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return Eq. 14: V weight vectors [V, H] averaged with a mixing [V], as [H]."""
    mixing = floating("mixing", mixing, "[V]")
    weights = floating("weights", weights, f"[{len(mixing)}, H]")
    mixing = mixing.to(accumulating(mixing.dtype))
    with full_precision(mixing.device):
        return mixing @ weights.to(mixing)


def _distance(spread: torch.Tensor, centers: torch.Tensor) -> torch.Tensor:
    spread, centers = floating("spread", spread, "[]"), floating("centers", centers, "[3]")
    spread = spread.to(accumulating(spread.dtype))
    return (spread - centers.to(spread)).abs()
