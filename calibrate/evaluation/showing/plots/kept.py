"""Who kept what: kept tokens of several methods under one spectrogram (paper Fig. 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from calibrate.evaluation.showing.examples import unpacked
from calibrate.evaluation.showing.plots.canvas import draw
from calibrate.sound.spectrogram import spectrogram
from calibrate.sound.timeline import spans
from calibrate.terminal.visible import one_line


def kept_tokens(
    example: Mapping[str, Any],
    masks: Mapping[str, np.ndarray],
    looks: Mapping[str, Mapping[str, Any]],
    samples: Sequence[np.ndarray],
    rate: int,
    seconds_per_token: float,
    title: str,
    dark: bool,
) -> bytes:
    """One stripe a method under the sound.

    Args:
        example: a row of ``examples.json``.
        masks: method -> bool [N_a]: what it kept.
        looks: method -> its colour, as :func:`.canvas.styles` has it.
        samples: the example's recordings, one after the other.
        rate: of the samples.
        seconds_per_token: what an audio token stands for.
        title: of the picture.
        dark: light lines on dark ground.
    """

    def paint(figure: Figure) -> None:
        above, below = figure.subplots(
            2, 1, sharex=True, height_ratios=(2.2, 0.28 * len(masks) + 0.1)
        )
        whole = np.concatenate(samples)
        spectrogram(above, whole, rate)
        above.set_title(one_line(title))
        for row, (method, mask) in enumerate(masks.items()):
            bars = [(begin, end - begin) for begin, end in _times(example, mask, seconds_per_token)]
            below.broken_barh(
                bars, (row - 0.36, 0.72), facecolors=looks[method]["color"], linewidth=0
            )
        below.set_yticks(range(len(masks)), list(masks))
        below.set_ylim(len(masks) - 0.4, -0.6)
        below.tick_params(axis="y", length=0)
        below.set_xlim(0, len(whole) / rate)
        below.set_xlabel("time (s)")

    return draw(2.6 + 0.22 * len(masks), dark, paint)


def masks_at(
    example: Mapping[str, Any], systems: Sequence[Sequence[Any]], ratio: float
) -> dict[str, np.ndarray]:
    """Return method -> what it kept at a ratio, bool [N_a]."""
    return {
        method: unpacked(mask, example["audio_tokens"])
        for (method, other), mask in zip(systems, example["kept"], strict=True)
        if other == ratio
    }


def _times(
    example: Mapping[str, Any], mask: np.ndarray, seconds_per_token: float
) -> list[tuple[float, float]]:
    """Begin and end of each kept run, in seconds from the beginning of the first recording."""
    found, token, begun = [], 0, 0.0
    for audio in example["audios"]:
        part = np.flatnonzero(mask[token : token + audio["audio_tokens"]]).tolist()
        found += [
            (begun + begin, begun + end)
            for begin, end in spans(part, seconds_per_token, audio["seconds"])
        ]
        token += audio["audio_tokens"]
        begun += audio["seconds"]
    return found
