"""Runs of neighbouring audio tokens, given where each begins; nothing waits for the device."""

from __future__ import annotations

import torch

#: Steps that the largest density is divided into. A sum over audio of a day stays below 2^63, and
#: so does its product with a number of runs.
_STEPS = 2**20


def of_equal_mass(density: torch.Tensor, k: int) -> torch.Tensor:
    """Cut tokens into k runs that hold as equal shares of the density as whole tokens can.

    Masses are whole numbers, so that the cuts are the same in whatever order a device adds. A
    constant density gives the runs that begin where Frame keeps.

    Args:
        density: [N_a], not negative; what is not finite counts as 0.
        k: number of runs, 1 to N_a.

    Returns:
        LongTensor [k], ascending, the first 0: where the runs begin.
    """
    tokens = density.shape[0]
    density = density.nan_to_num(nan=0.0, posinf=0.0)
    largest = density.max().clamp(min=torch.finfo(density.dtype).tiny)
    # never nothing: where all tokens are alike, the runs are even
    mass = (density / largest * _STEPS).round().long() + 1
    before = mass.cumsum(0) - mass
    numbers = torch.arange(k, device=density.device)
    starts = torch.searchsorted(before, numbers * mass.sum() // k, right=True) - 1
    # a token of more than one share would begin several runs: each needs a token of its own
    starts = (starts - numbers).cummax(0).values + numbers
    return torch.minimum(starts, tokens - k + numbers)


def numbers(starts: torch.Tensor, tokens: int) -> torch.Tensor:
    """Return which run each token lies in, LongTensor [N_a]."""
    every = torch.arange(tokens, device=starts.device)
    return torch.searchsorted(starts, every, right=True) - 1


def best(scores: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    """Return the token with the highest of the scores [N_a] in each run, ties to the lower index.

    Returns:
        LongTensor [k], ascending.
    """
    order = scores.sort(descending=True, stable=True).indices
    run = numbers(starts, scores.shape[0])
    # sorted by run, and within it by score: the first of each run stands where the run begins
    return order[run[order].sort(stable=True).indices][starts]


def means(
    states: torch.Tensor, starts: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the mean [k, D] of each run of states [N_a, D], plain or with weights [N_a].

    By embedding_bag, because it adds in a fixed order: index_add_ on a GPU does not.
    """
    every = torch.arange(states.shape[0], device=states.device)
    bag = torch.nn.functional.embedding_bag
    if weights is None:
        return bag(every, states, starts, mode="mean")
    return bag(
        every, states, starts, mode="sum", per_sample_weights=shares(weights.to(states), starts)
    )


def shares(weights: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    """Return the share [N_a] that each of some weights [N_a] has in its run's sum."""
    every = torch.arange(weights.shape[0], device=weights.device)
    total = torch.nn.functional.embedding_bag(every, weights[:, None], starts, mode="sum")
    return weights / total[numbers(starts, len(weights)), 0]
