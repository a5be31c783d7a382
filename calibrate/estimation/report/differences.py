"""The difference between two methods on the same samples, and what it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import Any

import numpy as np

from calibrate.estimation.choosing.intervals import Interval, holm, mean_interval
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
    backgrounds: Sequence[str] = (),
) -> dict[str, Any]:
    """Describe losses [S] of a method minus those of its rival, paired by sample.

    The 95 % interval is over clusters, and over background clips where there are any. Where it
    contains 0 the verdict is a tie; ``p`` is for this difference alone, see :func:`corrected`.
    Where it does not, but fewer than :data:`TELLING` speakers or clips carry the difference, the
    verdict is withheld. ``items`` counts the samples on which the method is better and worse, and
    says what share of all absolute differences the five largest are; ``task`` names the task with
    the largest share. ``answers`` holds McNemar's exact test of ``right``, the exact answers of
    both [S]: only samples that one of them alone answers tell them apart. ``divergence`` is the
    same difference [S] in a bounded loss, in which a few samples cannot decide alone.
    """
    found = mean_interval(values, clusters, backgrounds, seed)
    described = _described(values, found)
    low, high = described["low"], described["high"]
    carriers = carried_by(values, clusters)
    verdict = "better" if high < 0 else "worse" if low > 0 else "tie"
    if verdict != "tie" and carriers < TELLING:
        verdict = "withheld"
    return {
        **described,
        "verdict": verdict,
        "p": rounded(found.p),
        "carried_by": carriers,
        "items": _items(values, tasks),
        "answers": mcnemar(*right),
        "divergence": _described(bounded, mean_interval(bounded, clusters, backgrounds, seed)),
    }


def corrected(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return differences with ``p_holm``: ``p`` for all of them being looked at at once."""
    return [
        {**row, "p_holm": rounded(p)}
        for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True)
    ]


def _described(values: np.ndarray, found: Interval) -> dict[str, float]:
    mean = rounded(float(values.mean()))
    return {"difference": mean, "low": rounded(found.low), "high": rounded(found.high)}


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
