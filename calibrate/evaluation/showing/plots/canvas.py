"""What all pictures share: their size, their two themes, and a colour for each method."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from calibrate.evaluation.comparing.summary import FRAME
from calibrate.sound.figures import png, text_as_data

#: Width in inches; a telephone shows it at about half its size.
WIDTH = 7.2
#: Colours that are told apart with any colour vision (Okabe and Ito), and on both themes.
_PALETTE = ("#d55e00", "#0072b2", "#009e73", "#e69f00", "#cc79a7", "#56b4e9", "#8a6d3b", "#9467bd")
_MARKERS = "os^Dv<>P"
_PLAIN = "#8a8a8a"
GROUP_COLOURS = {
    "semantic": "#2f7fd0",
    "uniform": "#8a8a8a",
    "acoustic": "#e07b1a",
    "pooled": "#3f9f5f",
}

_INK, _PAPER, _GRID = ("#1b1f24", "#e4e7eb"), ("#ffffff", "#15181d"), ("#d5d9de", "#3a4048")


def draw(height: float, dark: bool, paint: Callable[[Figure], None]) -> bytes:
    """Return a PNG of what ``paint`` does with a figure.

    Args:
        height: in inches.
        dark: light lines on dark ground.
        paint: draws everything.
    """
    with text_as_data(), rc_context(_theme(dark)):
        figure = Figure(figsize=(WIDTH, height), dpi=140, layout="constrained")
        paint(figure)
        return _light(io.BytesIO(png(figure)))


def _light(file: io.BytesIO) -> bytes:
    """Return a picture with 256 colours of its own: a third of the bytes, and no eye tells."""
    light = io.BytesIO()
    with Image.open(file) as picture:
        few = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    few.save(light, "png", optimize=True)
    return light.getvalue()


def _theme(dark: bool) -> dict[Any, Any]:
    # of Any: matplotlib lists every key that there is as a type
    ink, paper, grid = _INK[dark], _PAPER[dark], _GRID[dark]
    inked = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.titlecolor")
    return {
        **dict.fromkeys(inked, ink),
        **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), paper),
        "axes.edgecolor": grid,
        "grid.color": grid,
        "axes.grid": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "axes.titlesize": 10,
        "font.size": 9.5,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
    }


def styles(methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """How the line of each method looks, the same in all pictures of an evaluation.

    Frame, which needs no calibration, is grey and dashed. Variants (``name:variant``) begin at the
    second colour: pictures show them beside the method that they vary.

    Args:
        methods: all of the evaluation, in order.
    """
    looks = list(zip(_PALETTE, _MARKERS, strict=True))
    plain, varied = cycle(looks), cycle(looks[1:])
    found: dict[str, dict[str, Any]] = {}
    for method in methods:
        if method == FRAME:
            found[method] = {"color": _PLAIN, "marker": "x", "linestyle": "--"}
        else:
            colour, marker = next(varied if ":" in method else plain)
            found[method] = {"color": colour, "marker": marker}
    return found


def legend_below(figure: Figure, axes: Axes, columns: int = 4) -> None:
    """Put the legend under the figure, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, markerscale=1.2)
