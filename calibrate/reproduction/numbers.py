"""What the paper's figures show, as numbers: which differ for certain, how close, how far apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from calibrate.evaluation.comparing.comparison import Comparison, Estimate
from calibrate.evaluation.comparing.parts import parts_of
from calibrate.evaluation.comparing.results import Results
from calibrate.evaluation.probing.classifiers import FOLDS, scikit_learn
from calibrate.evaluation.showing.plots.kept import masks_at
from headrouter_core.routing import GROUPS

SEMANTIC, ACOUSTIC = "headrouter:semantic", "headrouter:acoustic"
#: The method that is told where the energy is, which figure 3 compares with.
ORACLE = "energy"


@dataclass(frozen=True)
class Contrast:
    """Figure 2: the semantic against the acoustic profile on one group of tasks."""

    group: str
    ratio: float
    values: tuple[float, float]
    """With the semantic profile and with the acoustic: percent of vanilla's mean over tasks."""
    difference: Estimate
    """Semantic minus acoustic, paired."""

    @property
    def expected(self) -> bool | None:
        """Whether the profile of the group is better, as the paper has it; ``None``: a tie."""
        if np.isnan(self.difference.low) or self.difference.verdict == "tie":
            return None
        return (self.difference.verdict == "better") == (self.group == "semantic")


def contrasts(found: Results, seed: int) -> list[Contrast]:
    """Compare the two profiles within each group at every ratio; none where they were not asked.

    Nor where vanilla gets nothing right: a share of nothing means nothing.
    """
    rows: list[Contrast] = []
    if SEMANTIC not in found.methods or ACOUSTIC not in found.methods:
        return rows
    scored = [part for part in parts_of(found.items) if part.scored]
    for group in GROUPS:
        mine = [part.answers(found.systems) for part in scored if part.group == group]
        if not mine:
            continue
        compared = Comparison(mine, seed=seed)
        for ratio in found.ratios:
            pair = (SEMANTIC, ratio), (ACOUSTIC, ratio)
            semantic, acoustic = (compared.average(system).value for system in pair)
            if np.isfinite(semantic):  # else vanilla gets nothing right
                difference = compared.difference(*pair)
                rows.append(Contrast(group, ratio, (semantic, acoustic), difference))
    return rows


def overlaps(examples: Mapping[str, Any], ratio: float) -> dict[str, float]:
    """Return the share of each method's kept tokens that the energy oracle keeps too (figure 3).

    Means over the examples. Of tokens drawn at random it is the share that is kept.

    Args:
        examples: what an evaluation kept to be listened to.
        ratio: one of its ratios.
    """
    shares: dict[str, list[float]] = {}
    for example in examples.get("items", []):
        masks = masks_at(example, examples["systems"], ratio)
        if ORACLE not in masks:
            return {}
        oracle = masks.pop(ORACLE)
        for method, mask in masks.items():
            shares.setdefault(method, []).append(float((mask & oracle).sum() / mask.sum()))
    return {method: fmean(values) for method, values in shares.items()}


@dataclass(frozen=True)
class Separation:
    """Figure 6: how far apart the groups lie by their heads' selectivity."""

    silhouette: float
    """Mean silhouette of the standardised selectivities, -1 to 1; 0: the groups lie in each other
    (Rousseeuw 1987)."""
    auc: float
    """Of a logistic regression on items whose speakers and clips it has not seen; 0.5: chance."""
    places: np.ndarray
    """[S, 2]: t-SNE (van der Maaten and Hinton 2008) of all items, for the eye alone."""
    acoustic: np.ndarray
    """bool [S]."""


def separation(found: Results, seed: int) -> Separation | None:
    """Say how well heads tell semantic from acoustic items; ``None`` where there is one group only.

    Raises:
        HeadRouterError: scikit-learn is not installed.
    """
    with scikit_learn("figure 6 needs"):
        from sklearn.linear_model import LogisticRegression
        from sklearn.manifold import TSNE
        from sklearn.metrics import roc_auc_score, silhouette_score
        from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    items = [item for item in found.items if item["group"] in GROUPS]
    acoustic = np.array([item["group"] == "acoustic" for item in items], bool)
    clusters = [item["cluster"] for item in items]
    least = min(
        len({c for c, one in zip(clusters, acoustic, strict=True) if one == side})
        for side in (False, True)
    )
    if least < 2:
        return None
    selectivity = np.array([item["selectivity"] for item in items])
    heads = StandardScaler().fit_transform(selectivity)
    folds = StratifiedGroupKFold(min(FOLDS, least), shuffle=True, random_state=seed)
    chances = cross_val_predict(
        make_pipeline(StandardScaler(), LogisticRegression()),
        selectivity,
        acoustic,
        groups=clusters,
        cv=folds,
        method="predict_proba",
    )[:, 1]
    drawn = TSNE(
        perplexity=min(30.0, (len(items) - 1) / 3), init="pca", random_state=seed
    ).fit_transform(heads)
    return Separation(
        silhouette=float(silhouette_score(heads, acoustic)),
        auc=float(roc_auc_score(acoustic, chances)),
        places=drawn,
        acoustic=acoustic,
    )
