"""What hangs together: clusters that share members, and tasks that share clusters."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def components(sets: Sequence[Collection[str]]) -> np.ndarray:
    """Number the components of sets that share members, directly or through others.

    Args:
        sets: the members of each of n sets, as the clips of a sample or the clusters of a task.

    Returns:
        int [n]: equal for sets of one component.
    """
    members = {name: len(sets) + index for index, name in enumerate(sorted(set().union(*sets)))}
    links = [(row, members[name]) for row, names in enumerate(sets) for name in names]
    size = len(sets) + len(members)
    rows, columns = np.array(links, dtype=int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(links)), (rows, columns)), shape=(size, size))
    _, numbers = connected_components(graph, directed=False)
    return np.asarray(numbers[: len(sets)])


def merged(sets: Sequence[Collection[str]]) -> list[str]:
    """Name the cluster of each set of clips: the first clip, in order, of its component."""
    numbers = components(sets)
    first: dict[int, str] = {}
    for number, names in zip(numbers, sets, strict=True):
        first[number] = min([*names, *([first[number]] if number in first else [])])
    return [first[number] for number in numbers]
