"""Smoothing scores over neighbouring positions."""

from __future__ import annotations

import torch
from torch.nn.functional import avg_pool1d, max_pool1d

from headrouter_core.basics.arguments import one_of, whole
from headrouter_core.errors import UsageError

POOLINGS = ("average", "max")


def pooled(scores: torch.Tensor, kernel: int, pooling: str) -> torch.Tensor:
    """Pool scores [h, n] over ``kernel`` neighbours; what is beyond the ends counts as nothing."""
    if kernel == 1 or not scores.shape[-1]:
        return scores
    pool = max_pool1d if pooling == "max" else avg_pool1d
    return pool(scores[None], kernel, stride=1, padding=kernel // 2)[0]


def check_pooling(kernel: int, pooling: str) -> None:
    """Raise unless these are settings of :func:`pooled`.

    Raises:
        UsageError: they are not.
    """
    if whole("kernel", kernel, 1) % 2 == 0:
        raise UsageError(f"kernel is {kernel}; it must be odd, so that it has a middle")
    one_of("pooling", pooling, POOLINGS)
