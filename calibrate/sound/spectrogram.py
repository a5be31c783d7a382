"""The one way in which plots show sound."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

#: Length of a spectrum and distance to the next, in seconds; the range that is drawn, in decibels.
_WINDOW, _HOP, _RANGE = 0.032, 0.008, 80
#: Most spectra that are drawn: more would not be seen.
_COLUMNS = 4000


def spectrogram(axes: Axes, samples: np.ndarray, rate: int) -> None:
    """Draw the power of samples [n] over time in seconds, in decibels below the loudest."""
    size = int(_WINDOW * rate)
    hop = max(int(_HOP * rate), len(samples) // _COLUMNS)
    # centred: a window's middle is its time
    padded = np.pad(samples, (size // 2, size))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[: len(samples) : hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(size), axis=1)) ** 2
    decibels = 10 * np.log10(np.maximum(power, 1e-12))
    peak = decibels.max()
    axes.imshow(
        decibels.T,
        origin="lower",
        aspect="auto",
        extent=(0, len(frames) * hop / rate, 0, rate / 2000),
        vmin=peak - _RANGE,
        vmax=peak,
        cmap="magma",
        interpolation="nearest",
    )
    axes.set_ylabel("frequency (kHz)")
