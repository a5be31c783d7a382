"""The difference between two methods on the same samples, and what it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import Any

import numpy as np

from calibrate.estimation.choosing.fitting import bootstrap_interval
from calibrate.inspection.worth import TELLING

#: A difference is carried by the fewest clusters, largest first, that make up this share of it.
CARRIED = 0.8
#: How many of the items that differ most are counted together.
FEW = 5


def difference(
    values: np.ndarray,
    clusters: Sequence[str],
    tasks: Sequence[str],
    seed: int,
    right: tuple[np.ndarray, np.ndarray],
    bounded: np.ndarray,
) -> dict[str, Any]:
    """Describe losses [S] of a method minus those of its rival, paired by sample.

    The 95 % interval is a bootstrap over clusters; where it contains 0 the verdict is a tie. Where
    it does not, but fewer than :data:`TELLING` speakers or clips carry the difference, the verdict
    is withheld. ``items`` counts the samples on which the method is better and worse, and says what
    share of all absolute differences the five largest are; ``task`` names the task with the largest
    share. ``answers`` holds McNemar's exact test of ``right``, the exact answers of both [S]: only
    samples that one of them alone answers tell them apart. ``divergence`` is the same difference
    [S] in a bounded loss, in which a few samples cannot decide alone.
    """
    described = _described(values, clusters, seed)
    low, high = described["low"], described["high"]
    carriers = carried_by(values, clusters)
    verdict = "better" if high < 0 else "worse" if low > 0 else "tie"
    if verdict != "tie" and carriers < TELLING:
        verdict = "withheld"
    return {
        **described,
        "verdict": verdict,
        "carried_by": carriers,
        "items": _items(values, tasks),
        "answers": mcnemar(*right),
        "divergence": _described(bounded, clusters, seed),
    }


def _described(values: np.ndarray, clusters: Sequence[str], seed: int) -> dict[str, float]:
    low, high = _interval(values, clusters, seed)
    return {
        "difference": rounded(float(values.mean())),
        "low": rounded(low),
        "high": rounded(high),
    }


def _interval(values: np.ndarray, clusters: Sequence[str], seed: int) -> tuple[float, float]:
    return bootstrap_interval(values, list(clusters), np.random.default_rng(seed))


def carried_by(values: np.ndarray, clusters: Sequence[str]) -> int:
    """Fewest clusters whose sums make up :data:`CARRIED` of all clusters' absolute sums."""
    sums: dict[str, float] = {}
    for name, value in zip(clusters, values, strict=True):
        sums[name] = sums.get(name, 0.0) + float(value)
    sizes = np.sort(np.abs(list(sums.values())))[::-1]
    if not sizes.any():
        return 0
    return int(np.searchsorted(sizes.cumsum(), CARRIED * sizes.sum() * (1 - 1e-12)) + 1)


def mcnemar(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    """McNemar's exact two-sided test of paired right answers (booleans [S])."""
    won, lost = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    tail = sum(comb(won + lost, i) for i in range(min(won, lost) + 1)) / 2 ** (won + lost)
    return {"won": won, "lost": lost, "p": rounded(min(1.0, 2 * tail))}


def _items(values: np.ndarray, tasks: Sequence[str]) -> dict[str, Any]:
    sizes = np.abs(values)
    total = float(sizes.sum())
    if total == 0.0:
        return {"better": 0, "worse": 0, "largest": 0.0, "task": None, "task_share": 0.0}
    names = np.asarray(tasks)
    shares = {task: float(sizes[names == task].sum()) / total for task in dict.fromkeys(tasks)}
    task = max(shares, key=lambda name: shares[name])
    return {
        "better": int((values < 0).sum()),
        "worse": int((values > 0).sum()),
        "largest": rounded(float(np.sort(sizes)[::-1][:FEW].sum()) / total),
        "task": task,
        "task_share": rounded(shares[task]),
    }


def rounded(value: float) -> float:
    """Six decimals, and no negative zero: more would only store rounding noise in the file."""
    return round(value, 6) + 0.0
