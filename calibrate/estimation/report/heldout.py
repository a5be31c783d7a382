"""The report: the finished profile on samples that took no part in any choice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from calibrate.estimation.bench import Bench, Outcome, kept_by_frame
from calibrate.estimation.choosing.choices import Fitted
from calibrate.estimation.choosing.fitting import bootstrap_interval
from calibrate.inspection.verdicts import METHODS
from headrouter_core.selectors import Selection

#: Who is compared with whom: names as they stand in METHODS.
COMPARISONS = (
    ("headrouter", "uniform weights"),
    ("headrouter", "frame"),
    ("adaptive segments", "headrouter"),
    ("adaptive segments", "frame"),
)


def report(
    benches: Sequence[Bench],
    fitted: Fitted,
    ratios: Sequence[float],
    seed: int,
    tick: Callable[[], None],
) -> dict[str, Any]:
    """Loss and accuracy of no pruning, and of every method with the finished profile.

    Differences are method minus rival, paired by sample, with 95 % intervals from a bootstrap over
    clusters. An interval that contains 0 is a tie. ``rise`` is headrouter minus no
    pruning. Accuracy is exact greedy answers.
    """
    clusters = [bench.sample.cluster for bench in benches]
    whole, pruned = [], []
    for bench in benches:
        whole.extend(bench.outcomes([torch.arange(bench.audio_tokens)]))
        choices = [
            selection
            for ratio in ratios
            for selection in (
                Selection(fitted.kept(bench, ratio)),
                Selection(fitted.kept(bench, ratio, uniform=True)),
                Selection(kept_by_frame(bench.audio_tokens, ratio)),
                fitted.segments(bench, ratio),
            )
        ]
        pruned.append(bench.merged(choices))
        tick()
    shape = (len(benches), len(ratios), len(METHODS))
    nll = np.array([[outcome.nll for outcome in row] for row in pruned]).reshape(shape)
    right = np.array([[outcome.right for outcome in row] for row in pruned]).reshape(shape)
    whole_nll = np.array([outcome.nll for outcome in whole])
    return {
        "samples": len(benches),
        "clusters": len(set(clusters)),
        "unpruned": {
            "nll": _mean(whole_nll),
            "accuracy": _mean([outcome.right for outcome in whole]),
        },
        "ratios": {
            f"{ratio:g}": {
                "nll": dict(zip(METHODS, map(_mean, nll[:, i].T), strict=True)),
                "accuracy": dict(zip(METHODS, map(_mean, right[:, i].T), strict=True)),
                "comparisons": [
                    {
                        "method": method,
                        "rival": rival,
                        **_difference(
                            nll[:, i, METHODS.index(method)] - nll[:, i, METHODS.index(rival)],
                            clusters,
                            seed,
                        ),
                    }
                    for method, rival in COMPARISONS
                ],
                "rise": _difference(nll[:, i, 0] - whole_nll, clusters, seed),
            }
            for i, ratio in enumerate(ratios)
        },
        "by_task": _by_task(benches, whole, nll, right, ratios),
    }


def _difference(values: np.ndarray, clusters: list[str], seed: int) -> dict[str, Any]:
    low, high = bootstrap_interval(values, clusters, np.random.default_rng(seed))
    verdict = "better" if high < 0 else "worse" if low > 0 else "tie"
    return {
        "difference": _rounded(float(values.mean())),
        "low": _rounded(low),
        "high": _rounded(high),
        "verdict": verdict,
    }


def _by_task(
    benches: Sequence[Bench],
    whole: Sequence[Outcome],
    nll: np.ndarray,
    right: np.ndarray,
    ratios: Sequence[float],
) -> dict[str, Any]:
    tasks = list(dict.fromkeys(bench.sample.task for bench in benches))
    table = {}
    for task in tasks:
        rows = [index for index, bench in enumerate(benches) if bench.sample.task == task]
        table[task] = {
            "samples": len(rows),
            "unpruned": _mean([whole[index].right for index in rows]),
            "nll": {
                f"{ratio:g}": dict(zip(METHODS, map(_mean, nll[rows, i].T), strict=True))
                for i, ratio in enumerate(ratios)
            },
            "accuracy": {
                f"{ratio:g}": dict(zip(METHODS, map(_mean, right[rows, i].T), strict=True))
                for i, ratio in enumerate(ratios)
            },
        }
    return table


def _mean(values: Sequence[float] | np.ndarray) -> float:
    return _rounded(float(np.mean(values)))


def _rounded(value: float) -> float:
    """Six decimals: more would only store rounding noise in the file."""
    return round(value, 6)
