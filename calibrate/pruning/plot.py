"""``headrouter prune --plot``: the spectrogram, the importance and the kept tokens over time."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calibrate.pruning.result import Result
from calibrate.sound.figures import png, text_as_data
from calibrate.sound.spectrogram import spectrogram
from calibrate.terminal.visible import one_line, visible

_KEPT, _LINE = "#e66100", "#1f4e79"


def draw(result: Result) -> bytes:
    """Return the plot as a PNG file."""
    with text_as_data():
        figure = Figure(figsize=(11, 5.6), dpi=120, layout="constrained")
        scored = result.entry.importance is not None
        panels = figure.subplots(2 + scored, sharex=True, height_ratios=(5, *([3] * scored), 0.7))
        above, below = panels[0], panels[-1]
        spectrogram(above, result.samples, result.loaded.frontend.sample_rate)
        if result.entry.importance is not None:
            _importance(panels[1], result, result.entry.importance)
        _kept(below, result)
        above.set_title(_title(result), loc="left", fontsize=9)
        below.set_xlabel("time (s)")
        below.set_xlim(0, result.seconds)
        return png(figure)


def _title(result: Result) -> str:
    kept, tokens = len(result.kept), result.entry.audio_tokens
    return (
        f"{one_line(result.file.name)}: {kept} of {tokens} audio tokens kept by {result.method}"
        f" (ratio {result.ratio:g})\n{_short(result.question)}\n"
        f"pruned: {_short(result.answer.text)}   unpruned: {_short(result.answer_unpruned.text)}"
    )


def _importance(axes: Axes, result: Result, importance: torch.Tensor) -> None:
    """Draw the importance of every token that was scored."""
    values = importance.float().cpu().numpy()
    scored = np.flatnonzero(~np.isnan(values))
    # shares of attention are readable as multiples of their mean; decibels are not
    shares = values[scored].min() >= 0 and values[scored].mean() > 0
    relative = values / values[scored].mean() if shares else values
    middles = (np.arange(len(values)) + 0.5) * result.loaded.frontend.seconds_per_token
    kept = np.intersect1d(result.kept, scored)
    axes.plot(middles[scored], relative[scored], color=_LINE, linewidth=0.8)
    axes.plot(middles[kept], relative[kept], ".", color=_KEPT, markersize=4)
    axes.set_ylabel("importance\n(1 = mean)" if shares else "importance")


def _kept(axes: Axes, result: Result) -> None:
    """Draw the kept spans as a stripe."""
    bars = [(begin, end - begin) for begin, end in result.spans]
    axes.broken_barh(bars, (0, 1), facecolors=_KEPT, linewidth=0)
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.set_ylabel("kept", rotation=0, ha="right", va="center")


def _short(text: str) -> str:
    joined = visible(" ".join(text.split())) or "(nothing)"
    return joined if len(joined) <= 90 else joined[:89] + "…"
