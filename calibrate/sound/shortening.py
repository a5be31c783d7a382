"""Shorter recordings instead of fewer tokens: played faster, and without silence.

What people do before they prune: FFmpeg's ``atempo`` keeps the pitch, ``silenceremove`` cuts pauses
out. Both come with PyAV.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import av
import av.filter
import numpy as np

from calibrate.terminal.errors import AudioError

#: Largest tempo of one ``atempo``: above, it leaves samples out instead of blending them.
_BLENDED = 2.0
#: What is silence: quieter than this (of full scale 1, RMS over 20 ms), for longer than this.
SILENCE_LEVEL, SILENCE_SECONDS = "-50dB", 0.1


def stretched(samples: np.ndarray, rate: int, length: int) -> np.ndarray:
    """Return a recording played so much faster that ``length`` samples are left, its pitch kept.

    ``atempo`` meets a length to some milliseconds: the rest is cut off at the end, or silence.

    Args:
        samples: float32 [n], mono.
        rate: of the samples.
        length: of the result, from 1 to n.

    Raises:
        AudioError: ``length`` is not in that range.
    """
    if not 1 <= length <= len(samples):
        raise AudioError(f"{len(samples)} samples cannot be played faster to become {length}")
    tempo = len(samples) / length
    number = max(1, math.ceil(math.log(tempo, _BLENDED)))
    each = tempo ** (1 / number)
    found = samples
    if tempo > 1:
        found = _filtered(samples, rate, [("atempo", f"{each:.12g}")] * number)
    found = found[:length]
    return np.pad(found, (0, length - len(found)))


def without_silence(samples: np.ndarray, rate: int) -> np.ndarray:
    """Return a recording whose pauses are cut to a tenth of a second; empty if all is silence.

    Args:
        samples: float32 [n], mono.
        rate: of the samples.
    """
    edges = ":".join(
        f"{edge}_threshold={SILENCE_LEVEL}:{edge}_duration={duration:g}:{edge}_silence={kept:g}"
        for edge, duration, kept in (("start", 0, 0), ("stop", SILENCE_SECONDS, SILENCE_SECONDS))
    )
    return _filtered(
        samples,
        rate,
        [("silenceremove", f"start_periods=1:stop_periods=-1:detection=rms:window=0.02:{edges}")],
    )


def _filtered(samples: np.ndarray, rate: int, filters: Sequence[tuple[str, str]]) -> np.ndarray:
    """Return what FFmpeg's filters, each with its arguments, make of float32 [n]."""
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=rate, format="flt", layout="mono")
    chain = [source, *(graph.add(*each) for each in filters), graph.add("abuffersink")]
    for before, behind in itertools.pairwise(chain):
        before.link_to(behind)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(samples[None], dtype=np.float32), format="flt", layout="mono"
    )
    frame.sample_rate, frame.pts = rate, 0
    source.push(frame)
    source.push(None)
    parts = [np.zeros(0, np.float32)]
    while True:
        try:
            pulled = chain[-1].pull()
            assert isinstance(pulled, av.AudioFrame)
            parts.append(pulled.to_ndarray().reshape(-1).astype(np.float32, copy=False))
        except (EOFError, av.BlockingIOError):
            return np.concatenate(parts)
