"""``headrouter inspect --plot``: selectivity heatmap and spread densities, in one picture."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calibrate.inspection.tables import SAMPLED
from calibrate.sound.figures import png, text_as_data
from calibrate.terminal.visible import one_line
from headrouter_core.errors import UsageError
from headrouter_core.profile.profile import Profile
from headrouter_core.routing import GROUPS

COLOURS = {
    "semantic": "#2f6db3",
    "uniform": "#8a8a8a",
    "acoustic": "#e07b1a",
    "pooled": "#3f9b57",
}


def draw(profile: Profile) -> bytes:
    """Return the picture, a PNG file.

    On top the mean selectivity of each head per task (paper Fig. 5), below the spread of each
    group's samples with the three Gaussians of the router.

    Raises:
        UsageError: the profile holds no samples, as one made by hand.
    """
    if not profile.calibration["samples"]:
        raise UsageError(
            f"the profile of {profile.model.id} holds no calibration samples: there is nothing to"
            " plot"
        )
    with text_as_data():
        figure = Figure(figsize=(9, 8.5), dpi=150, layout="constrained")
        top, bottom = figure.subplots(2, 1, height_ratios=(3, 2))
        _heatmap(figure, top, profile)
        _densities(bottom, profile)
        model = profile.model
        figure.suptitle(f"{one_line(model.id)}: layer {model.probe_layer}", fontsize=12)
        return png(figure)


def _heatmap(figure: Figure, axes: Axes, profile: Profile) -> None:
    tasks, groups = profile.calibration["tasks"], profile.calibration["groups"]
    names = np.array(profile.calibration["sample_tasks"])
    selectivity = profile.tensors["calibration.selectivity"].numpy()
    tasks = [task for task in tasks if task in names]
    rows = np.stack([selectivity[names == task].mean(axis=0) for task in tasks])
    image = axes.imshow(rows, aspect="auto", cmap="viridis", vmin=0)
    axes.set_yticks(range(len(tasks)), map(one_line, tasks))
    for label, task in zip(axes.get_yticklabels(), tasks, strict=True):
        label.set_color(COLOURS[groups[task]])
    axes.set_xticks(range(0, rows.shape[1], max(1, rows.shape[1] // 32)))
    axes.set_xlabel("head")
    axes.set_title("Mean selectivity of each head (0: even over the audio, 1: one token)")
    figure.colorbar(image, ax=axes, pad=0.01)


def _densities(axes: Axes, profile: Profile) -> None:
    names, groups = profile.calibration["sample_tasks"], profile.calibration["groups"]
    of_sample = np.array([groups[name] for name in names])
    spread = profile.tensors["calibration.spread"].numpy()
    centers, sigma = profile.centers.numpy(), profile.bandwidth
    low = min(spread.min(), centers.min() - 3 * sigma)
    high = max(spread.max(), centers.max() + 3 * sigma)
    bins = np.linspace(low, high, 41).tolist()
    tallest = 0.0
    for group in SAMPLED:
        values = spread[of_sample == group]
        if not len(values):
            continue
        heights, _, _ = axes.hist(
            values, bins, density=True, alpha=0.4, color=COLOURS[group], label=f"{group} samples"
        )
        tallest = max(tallest, float(np.max(heights)))
    axis = np.linspace(low, high, 400)
    for name, center in zip(GROUPS, centers, strict=True):
        curve = np.exp(-((axis - center) ** 2) / (2 * sigma**2))
        label = f"{name} center {center:.3f}"
        axes.plot(axis, tallest * curve, color=COLOURS[name], label=label)
    axes.set_xlabel("spread")
    axes.set_ylabel("density of samples")
    axes.set_title(f"Spread of the samples; Gaussians of bandwidth {sigma:.4f}, scaled to fit")
    axes.legend(fontsize=8)
