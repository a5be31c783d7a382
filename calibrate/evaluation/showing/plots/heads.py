"""What the heads do: routing, selectivity, and where samples lie by it."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from matplotlib.figure import Figure

from calibrate.evaluation.asking.records import COLUMNS
from calibrate.evaluation.comparing.results import Results
from calibrate.evaluation.showing.plots.canvas import GROUP_COLOURS, draw, legend_below
from calibrate.terminal.visible import one_line
from headrouter_core.routing import VECTORS

_MARKERS = "os^DvP<>Xph*"


def routed_method(found: Results) -> str | None:
    """The first method that routes, and which its spread alone decides for; ``None`` if none."""
    routes = [name for name in found.methods if _mixing(found, name)]
    return next((name for name in routes if ":" not in name), routes[0] if routes else None)


def routing(found: Results, method: str, dark: bool) -> bytes:
    """How the inputs of each task are routed (paper Fig. 7)."""
    shares = _mixing(found, method)
    tasks = list(shares)

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        left = np.zeros(len(tasks))
        vectors = VECTORS[: len(shares[tasks[0]][0])]  # pooled only where the profile holds it
        for place, group in enumerate(vectors):
            width = np.array([np.mean([row[place] for row in shares[task]]) for task in tasks])
            names = [one_line(task) for task in tasks]
            bars = axes.barh(names, width, left=left, color=GROUP_COLOURS[group], label=group)
            texts = [f"{share:.2f}" if share >= 0.07 else "" for share in width]
            axes.bar_label(bars, texts, label_type="center", color="white", fontsize=8)
            left += width
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_xlabel("mean mixing")
        axes.set_title(f"Routing by {method}: mean mixing of each task's inputs")
        legend_below(figure, axes)

    return draw(1.4 + 0.3 * len(tasks), dark, paint)


def heatmap(found: Results, dark: bool) -> bytes:
    """Mean selectivity of each head for each task (paper Fig. 5)."""
    tasks, selectivity = _selectivity(found)
    names = list(dict.fromkeys(tasks))
    rows = np.stack([selectivity[np.array(tasks) == name].mean(axis=0) for name in names])

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        image = axes.imshow(rows, aspect="auto", cmap="viridis", vmin=0)
        axes.set_yticks(range(len(names)), map(one_line, names))
        for label, name in zip(axes.get_yticklabels(), names, strict=True):
            label.set_color(_colour(found, name))
        step = max(1, rows.shape[1] // 32)
        axes.set_xticks(range(0, rows.shape[1], step))
        axes.tick_params(length=0)
        axes.set_xlabel("head")
        axes.set_title("Mean selectivity (0: even over the audio, 1: one token)")
        figure.colorbar(image, ax=axes, pad=0.01).outline.set_visible(False)

    return draw(1.2 + 0.28 * len(names), dark, paint)


def plane(found: Results, dark: bool) -> bytes:
    """Samples by the selectivity of their heads, in two dimensions (paper Fig. 6).

    The two are the principal components: directions of the largest variance.
    """
    tasks, selectivity = _selectivity(found)
    centred = selectivity - selectivity.mean(axis=0)
    left, singular, directions = np.linalg.svd(centred, full_matrices=False)
    # either sign of a direction is right: the one that makes its largest entry positive is taken
    largest = np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], axis=1)[:, 0]
    places = (left * singular * np.where(largest < 0, -1, 1))[:, :2]
    places = np.pad(places, ((0, 0), (0, 2 - places.shape[1])))
    variance = np.append(singular**2, 0)
    explained = variance[:2] / max(variance.sum(), np.finfo(float).tiny)

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for number, name in enumerate(dict.fromkeys(tasks)):
            mine = np.array(tasks) == name
            across, up = places[mine].T
            axes.scatter(
                across,
                up,
                s=16,
                alpha=0.75,
                marker=_MARKERS[number % len(_MARKERS)],
                color=_colour(found, name),
                linewidths=0,
                label=one_line(name),
            )
        for axis, share in zip((axes.xaxis, axes.yaxis), explained, strict=True):
            axis.set_label_text(f"{share:.0%} of the variance")
        axes.set_title("Samples by their heads' selectivity (blue: semantic, orange: acoustic)")
        axes.grid(alpha=0.4)
        legend_below(figure, axes, 5)

    return draw(5.2, dark, paint)


def _mixing(found: Results, method: str) -> dict[str, list[list[float]]]:
    """Mixing of every record by task, at the first ratio; empty where the method does not route."""
    place = found.systems.index((method, found.ratios[0]))
    column = COLUMNS["replies"].index("routing")
    shares: dict[str, list[list[float]]] = defaultdict(list)
    for record in found.items:
        line = record["replies"][place][column]
        if line is not None and record["routing"][line][1] is not None:
            shares[record["task"]].append(record["routing"][line][1])
    return shares


def _selectivity(found: Results) -> tuple[list[str], np.ndarray]:
    """Task and selectivity [S, H] of every record."""
    tasks = [record["task"] for record in found.items]
    return tasks, np.array([record["selectivity"] for record in found.items])


def _colour(found: Results, task: str) -> str:
    group = next(record["group"] for record in found.items if record["task"] == task)
    return GROUP_COLOURS.get(group, "#8a8a8a")
