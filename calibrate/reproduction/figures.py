"""The paper's figures that an evaluation's own pictures do not show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from calibrate.evaluation.comparing.results import Results
from calibrate.evaluation.scoring.systems import VANILLA, System
from calibrate.evaluation.showing.plots.canvas import GROUP_COLOURS, draw, legend_below, styles
from calibrate.evaluation.showing.wording import MARKS
from calibrate.reproduction.numbers import Contrast, Separation
from calibrate.terminal.visible import one_line


def profiles(rows: Sequence[Contrast], dark: bool) -> bytes:
    """Figure 2: each group of tasks under the semantic and the acoustic profile."""
    names = [f"{row.group} tasks, {row.ratio:g}" for row in rows]

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for side, profile in enumerate(("semantic", "acoustic")):
            places = np.arange(len(rows)) + (side - 0.5) * 0.38
            values = [row.values[side] for row in rows]
            axes.barh(
                places, values, 0.36, color=GROUP_COLOURS[profile], label=f"{profile} profile"
            )
        for place, row in enumerate(rows):
            gap, mark = row.difference, MARKS[row.difference.verdict]
            said = f" {gap.value:+.1f} [{gap.low:+.1f}, {gap.high:+.1f}] {mark}"
            axes.text(max(row.values), place, said, va="center", fontsize=8)
        axes.set_yticks(range(len(rows)), names)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.45 * max(1.0, *(value for row in rows for value in row.values)))
        axes.set_xlabel("average score, % of vanilla; beside it semantic minus acoustic, paired")
        axes.set_title("Does the right profile beat the wrong one?")
        legend_below(figure, axes)

    return draw(1.6 + 0.45 * len(rows), dark, paint)


def plane(found: Separation, dark: bool) -> bytes:
    """Figure 6: items by their heads' selectivity, laid out by t-SNE."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for side, group in ((False, "semantic"), (True, "acoustic")):
            across, up = found.places[found.acoustic == side].T
            axes.scatter(
                across, up, s=14, alpha=0.75, linewidths=0, color=GROUP_COLOURS[group], label=group
            )
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_title(
            f"t-SNE of the heads' selectivity: AUC {found.auc:.2f}, silhouette"
            f" {found.silhouette:.2f}"
        )
        legend_below(figure, axes)

    return draw(4.6, dark, paint)


def memory(
    found: Results,
    tasks: Sequence[str],
    peaks: Mapping[System, float],
    counted: bool,
    dark: bool,
) -> bytes:
    """Figure 8: the score of each task over the peak memory of a prefill.

    Args:
        found: the results.
        tasks: which to show.
        peaks: bytes of each system.
        counted: whether these are counted from the model's shapes, and not measured.
        dark: light lines on dark ground.
    """
    methods = [name for name in found.methods if ":" not in name]
    looks = styles(found.methods)
    ratios = sorted(found.ratios)
    columns = min(3, len(tasks))
    rows = -(-len(tasks) // columns)

    def paint(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, squeeze=False)
        for place, axes in enumerate(grid.flat):
            if place >= len(tasks):
                axes.set_axis_off()
                continue
            task = tasks[place]
            for method in methods:
                axes.plot(
                    [peaks[method, ratio] / 2**30 for ratio in ratios],
                    [_score(found, task, (method, ratio)) for ratio in ratios],
                    label=method,
                    linewidth=0.9,
                    markersize=3.5,
                    **looks[method],
                )
            whole = peaks[VANILLA] / 2**30, _score(found, task, VANILLA)
            axes.plot(*whole, "*", markersize=9, color="#c9a400", label="vanilla")
            axes.set_title(one_line(task))
            axes.grid(alpha=0.4)
        how = "counted from the model's shapes" if counted else "measured"
        # not as a label below, which would lie on the legend
        figure.suptitle(f"Score x 100 over the peak memory of a prefill (GiB, {how})", fontsize=10)
        legend_below(figure, grid[0, 0], 5)

    return draw(1.3 + 1.9 * rows, dark, paint)


def _score(found: Results, task: str, system: System) -> float:
    value: float = found.scores[task, system]["score"]["value"]
    return 100 * value
