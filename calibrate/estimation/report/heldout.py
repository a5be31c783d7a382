"""The report: the finished profile on samples that took no part in any choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from calibrate.estimation.bench import Bench, Outcome, kept_by_frame
from calibrate.estimation.choosing.choices import Fitted
from calibrate.estimation.replay.holding import Record
from calibrate.estimation.report.differences import corrected, difference, rounded
from calibrate.estimation.samples.sample import Sample
from calibrate.inspection.verdicts import METHODS

#: Who is compared with whom: names as they stand in METHODS.
COMPARISONS = (
    ("headrouter", "uniform weights"),
    ("headrouter", "frame"),
    ("adaptive segments", "headrouter"),
    ("adaptive segments", "frame"),
)


@dataclass(frozen=True)
class Observed:
    """How the model does on one sample, whole and pruned, and what its router was told."""

    whole: Outcome
    methods: list[list[Outcome]]
    """By ratio, then in the order of METHODS."""
    routes: list[dict[str, Outcome]]
    """By ratio: what HeadRouter would do by each route, and by the ``oracle``."""
    selectivity: np.ndarray
    """float64 [H]."""

    def record(self) -> Record:
        """What a journal keeps of it, for :meth:`recalled`."""
        return {
            "whole": astuple(self.whole),
            "methods": [[astuple(outcome) for outcome in row] for row in self.methods],
            "routes": [{name: astuple(found) for name, found in by.items()} for by in self.routes],
            "selectivity": self.selectivity.tolist(),
        }

    @classmethod
    def recalled(cls, record: Record) -> Observed:
        """What :meth:`record` was of."""
        return cls(
            whole=Outcome(*record["whole"]),
            methods=[[Outcome(*told) for told in row] for row in record["methods"]],
            routes=[{name: Outcome(*told) for name, told in by.items()} for by in record["routes"]],
            selectivity=np.array(record["selectivity"]),
        )


def observe(bench: Bench, fitted: Fitted, ratios: Sequence[float]) -> Observed:
    """Try a sample that took no part in any choice."""
    whole = bench.unpruned()
    merged = bench.outcomes([fitted.segments(bench, ratio) for ratio in ratios])
    methods, routes = [], []
    for ratio, segments in zip(ratios, merged, strict=True):
        names = (*fitted.routes, "oracle")
        sets = [fitted.kept(bench, ratio, route) for route in names]
        # remembered by what is kept: methods that keep the same tokens differ by exactly 0
        *found, frame = bench.outcomes([*sets, kept_by_frame(bench.audio_tokens, ratio)])
        by_route = dict(zip(names, found, strict=True))
        methods.append([by_route[fitted.route], by_route["uniform"], frame, segments])
        routes.append(by_route)
    selectivity = bench.selectivity(fitted.text_tokens).double().numpy()
    return Observed(whole, methods, routes, selectivity)


def report(
    samples: Sequence[Sample], observed: Sequence[Observed], ratios: Sequence[float], seed: int
) -> dict[str, Any]:
    """Loss and accuracy of no pruning, and of every method with the finished profile.

    Differences are method minus rival, see :func:`.differences.difference`. ``rise`` is headrouter
    minus no pruning. Accuracy is exact greedy answers; divergence, from the unpruned model's
    tokens, is the second loss, see :func:`.replay.layers.answer_divergence`.
    """
    clusters = [sample.cluster for sample in samples]
    backgrounds = [sample.background for sample in samples]
    tasks = [sample.task for sample in samples]
    nll = np.array([[[o.nll for o in row] for row in seen.methods] for seen in observed])
    right = np.array([[[o.right for o in row] for row in seen.methods] for seen in observed])
    apart = np.array([[[o.divergence for o in row] for row in seen.methods] for seen in observed])
    whole = np.array([seen.whole.nll for seen in observed])
    whole_right = np.array([seen.whole.right for seen in observed])
    place = METHODS.index

    def entry(i: int) -> dict[str, Any]:
        return {
            "nll": dict(zip(METHODS, map(_mean, nll[:, i].T), strict=True)),
            "accuracy": dict(zip(METHODS, map(_mean, right[:, i].T), strict=True)),
            "divergence": dict(zip(METHODS, map(_mean, apart[:, i].T), strict=True)),
            "comparisons": [
                {
                    "method": method,
                    "rival": rival,
                    **difference(
                        nll[:, i, place(method)] - nll[:, i, place(rival)],
                        clusters,
                        tasks,
                        seed,
                        right=(right[:, i, place(method)], right[:, i, place(rival)]),
                        bounded=apart[:, i, place(method)] - apart[:, i, place(rival)],
                        backgrounds=backgrounds,
                    ),
                }
                for method, rival in COMPARISONS
            ],
            "rise": difference(
                nll[:, i, 0] - whole,
                clusters,
                tasks,
                seed,
                right=(right[:, i, 0], whole_right),
                bounded=apart[:, i, 0],
                backgrounds=backgrounds,
            ),
        }

    entries = [entry(i) for i in range(len(ratios))]
    compared = corrected([row for found in entries for row in found["comparisons"]])
    for number, found in enumerate(entries):
        found["comparisons"] = compared[number * len(COMPARISONS) : (number + 1) * len(COMPARISONS)]
    return {
        "samples": len(samples),
        "clusters": len(set(clusters)),
        "unpruned": {"nll": _mean(whole), "accuracy": _mean(whole_right)},
        "ratios": {f"{ratio:g}": found for ratio, found in zip(ratios, entries, strict=True)},
        "by_task": _by_task(tasks, whole_right, nll, right, ratios),
    }


def _by_task(
    names: Sequence[str],
    whole_right: np.ndarray,
    nll: np.ndarray,
    right: np.ndarray,
    ratios: Sequence[float],
) -> dict[str, Any]:
    table = {}
    for task in dict.fromkeys(names):
        rows = [index for index, name in enumerate(names) if name == task]
        table[task] = {
            "samples": len(rows),
            "unpruned": _mean(whole_right[rows]),
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


def _mean(values: np.ndarray) -> float:
    return rounded(float(np.mean(values)))
