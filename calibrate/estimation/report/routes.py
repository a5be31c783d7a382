"""What routing is worth on samples that took no part, and whether groups can be told apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from calibrate.estimation.choosing.choices import Choices, Fitted
from calibrate.estimation.choosing.fitting import BANDWIDTH_FACTORS, fit_rule
from calibrate.estimation.choosing.material import Material
from calibrate.estimation.report.differences import corrected, difference, rounded
from calibrate.estimation.report.heldout import Observed
from calibrate.estimation.samples.sample import Sample

#: Route -> its name in the report, where another.
_NAMES = {"auto": "mixture"}
#: What routing has to beat, and what is held against it.
_RIVAL = "pooled"
_AGAINST = ("oracle", "auto", "selectivity", "semantic")


def routing_report(
    material: Material,
    observed: Sequence[Observed],
    samples: Sequence[Sample],
    choices: Choices,
    fitted: Fitted,
    seed: int,
) -> dict[str, Any]:
    """Compare routes side by side, and say how well the groups can be told apart.

    Losses are means over samples and ratios: of one vector always, of the paper's ``mixture``, and
    of the ``oracle``, which knows the true group. ``auc`` is that of spread on tasks that the
    calibration knew, ``auc_selectivity`` that of the rule; ``unseen_task`` is the share of samples
    told right whose task was left out of the fit: there 0.5 is chance, and it, not the AUC, says
    whether a group is more than a list of known questions.
    """
    names = list(observed[0].routes[0])
    loss = {r: np.array([[by[r].nll for by in seen.routes] for seen in observed]) for r in names}
    apart = {
        r: np.array([[by[r].divergence for by in seen.routes] for seen in observed]) for r in names
    }
    right = {r: np.array([[by[r].right for by in seen.routes] for seen in observed]) for r in names}
    clusters = [sample.cluster for sample in samples]
    tasks = [sample.task for sample in samples]
    acoustic = np.array([sample.group == "acoustic" for sample in samples])
    spreads = np.array([seen.selectivity.std() for seen in observed])
    selectivities = np.stack([seen.selectivity for seen in observed])
    known = np.stack([b.selectivity(fitted.text_tokens).double().numpy() for b in material.benches])
    assert fitted.router.rule is not None  # there are groups
    scores = selectivities @ fitted.router.rule[:-1]
    semantic, _, other = fitted.router.routing.centers
    bandwidth, distance = fitted.router.routing.bandwidth, abs(semantic - other)
    return {
        "route": fitted.route,
        **{_NAMES.get(route, route): rounded(float(loss[route].mean())) for route in names},
        "comparisons": corrected(
            [
                {
                    "method": _NAMES.get(route, route),
                    "rival": _RIVAL,
                    **difference(
                        (loss[route] - loss[_RIVAL]).mean(axis=1),
                        clusters,
                        tasks,
                        seed,
                        # of the highest ratio, where methods differ most
                        right=(right[route][:, -1], right[_RIVAL][:, -1]),
                        bounded=(apart[route] - apart[_RIVAL]).mean(axis=1),
                        backgrounds=[sample.background for sample in samples],
                    ),
                }
                for route in _AGAINST
            ]
        ),
        "auc": rounded(auc(spreads if other > semantic else -spreads, acoustic)),
        "auc_selectivity": rounded(auc(scores, acoustic)),
        "unseen_task": {
            "spread": _unseen(material, samples, known.std(1), spreads, _nearest_center),
            "selectivity": _unseen(material, samples, known, selectivities, _by_rule),
        },
        "bandwidth": {
            "factor": choices.route.factor,
            "at_edge": choices.route.factor in (min(BANDWIDTH_FACTORS), max(BANDWIDTH_FACTORS)),
            "centers_apart": rounded(float(distance)),
            "wider_than_centers": bool(bandwidth > distance),
        },
    }


def auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve of scores [S] for booleans [S], ties counting half; 0.5 is chance.

    By the ranks of Mann and Whitney (1947). 0.5 where there is but one class.
    """
    count, rest = int(positive.sum()), int((~positive).sum())
    if not count or not rest:
        return 0.5
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * rest))


Told = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def _unseen(
    material: Material,
    samples: Sequence[Sample],
    known: np.ndarray,
    seen: np.ndarray,
    tell: Told,
) -> float | None:
    """Share of samples told right by what was fitted without their task, tasks counting alike.

    ``known`` and ``seen`` are what is read of the samples fitted to, and of those of the report.

    None where a group has no other task to be known by.
    """
    tasks = [bench.sample.task for bench in material.benches]
    shares = []
    for task in dict.fromkeys(sample.task for sample in samples):
        rest = np.array([name != task for name in tasks])
        if len(set(material.acoustic[rest].tolist())) < 2:
            return None
        mine = [index for index, sample in enumerate(samples) if sample.task == task]
        truth = samples[mine[0]].group == "acoustic"
        found = tell(known[rest], material.acoustic[rest], seen[mine])
        shares.append(float((found == truth).mean()))
    return rounded(float(np.mean(shares)))


def _nearest_center(known: np.ndarray, acoustic: np.ndarray, seen: np.ndarray) -> np.ndarray:
    semantic, other = (known[side].mean() for side in (~acoustic, acoustic))
    nearer: np.ndarray = np.abs(seen - other) < np.abs(seen - semantic)
    return nearer


def _by_rule(known: np.ndarray, acoustic: np.ndarray, seen: np.ndarray) -> np.ndarray:
    rule = fit_rule(known, acoustic)
    told: np.ndarray = seen @ rule[:-1] + rule[-1] > 0
    return told
