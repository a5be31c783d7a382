"""Scores against the pruning ratio, and against what they cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from calibrate.evaluation.comparing.costs import Cost
from calibrate.evaluation.comparing.results import Results
from calibrate.evaluation.scoring.systems import VANILLA, System
from calibrate.evaluation.showing.plots.canvas import draw, legend_below, styles

_AXIS = "average score, % of vanilla"


def against_ratio(found: Results, methods: Sequence[str], title: str, dark: bool) -> bytes:
    """Average of each method over the pruning ratio, with 95 % intervals.

    Ratios stand as far apart as the logarithms of what they keep: from 0.9 to 0.95 is a long way.
    """
    looks = styles(found.methods)

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        ratios = np.sort(found.ratios)
        places = -np.log1p(-ratios)
        # a little apart, so that intervals of one ratio do not hide each other
        step = 0.5 * np.diff(places, prepend=0).min() / max(1, len(methods))
        for number, method in enumerate(methods):
            values, low, high = _estimates(found, method, ratios)
            axes.errorbar(
                places + (number - (len(methods) - 1) / 2) * step,
                values,
                yerr=np.nan_to_num([values - low, high - values]).clip(0),
                label=method,
                linewidth=1.4,
                markersize=4.5,
                elinewidth=0.7,
                alpha=0.9,
                **looks[method],
            )
        axes.axhline(100, linewidth=0.8, color="#8a8a8a", zorder=0)
        axes.set_xticks(places, [f"{ratio:g}" for ratio in ratios])
        axes.set_xlabel("pruning ratio: share of audio tokens removed")
        axes.set_ylabel(_AXIS)
        axes.set_title(title)
        axes.grid(axis="y", alpha=0.5)
        legend_below(figure, axes)

    return draw(4.4, dark, paint)


def against_cost(
    found: Results,
    methods: Sequence[str],
    costs: Mapping[System, Cost],
    what: str,
    label: str,
    factor: float,
    dark: bool,
) -> bytes:
    """Average of each method over what it costs, with what nothing beats in both.

    Args:
        found: the results.
        methods: which to show.
        costs: of every system.
        what: a field of :class:`Cost`.
        label: of the axis.
        factor: from the field's unit to the axis's.
        dark: light lines on dark ground.
    """
    looks = styles(found.methods)

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        ratios = np.sort(found.ratios)
        points = [(getattr(costs[VANILLA], what) * factor, 100.0)]
        for method in methods:
            cost = [getattr(costs[method, ratio], what) * factor for ratio in ratios]
            values, _, _ = _estimates(found, method, ratios)
            axes.plot(
                cost,
                values,
                label=method,
                linewidth=0.9,
                markersize=4.5,
                alpha=0.9,
                **looks[method],
            )
            points += zip(cost, values.tolist(), strict=True)
        axes.plot(*points[0], "*", markersize=12, color="#c9a400", label="vanilla")
        axes.plot(
            *zip(*front(points), strict=True), ":", linewidth=1.6, color="#8a8a8a", zorder=0,
            drawstyle="steps-post", label="Pareto front",
        )  # fmt: skip
        axes.set_xlabel(label)
        axes.set_ylabel(_AXIS)
        named = ", ".join(f"{ratio:g}" for ratio in ratios)
        axes.set_title(f"Score against cost; along each line the ratios {named}")
        axes.grid(alpha=0.5)
        legend_below(figure, axes)

    return draw(4.6, dark, paint)


def front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points (cost, score) that no other beats in one without losing in the other.

    By rising cost; of equal ones once.
    """
    best: list[tuple[float, float]] = []
    for cost, score in sorted(set(points), key=lambda point: (point[0], -point[1])):
        if not np.isnan(score) and (not best or score > best[-1][1]):
            best.append((cost, score))
    return best


def _estimates(
    found: Results, method: str, ratios: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Percent of vanilla with its interval, one a ratio; NaN where there is none."""
    rows = [found.averages[method, ratio]["percent_of_vanilla"] for ratio in ratios.tolist()]
    columns = ([row[name] for row in rows] for name in ("value", "low", "high"))
    value, low, high = (np.array(column, dtype=float) for column in columns)
    return value, low, high
