"""Which recordings are the same sound, whatever file they come from."""

from __future__ import annotations

import itertools

import numpy as np

#: Edges of the bands in Hz: what any codec and telephone keeps. Neighbours are compared.
_EDGES = np.geomspace(300, 3000, 10)
#: Times that are compared with the one before; windows overlap by half.
_TIMES = 33
_SHORTEST = 512
#: Most of the 256 bits that may differ between two of one sound; MP3 at 16 kbit/s changes up to 39
#: of a scene of 10 s. Those of different sounds differ in about half, with a deviation of 9; scenes
#: that share a clip in at least 71.
SAME = 56


def fingerprint(samples: np.ndarray, rate: int) -> str:
    """Return 64 hexadecimal digits that are nearly equal for one sound in different files.

    Each of 256 bits says whether the difference in energy between two neighbouring bands rises or
    falls from one time to the next (Haitsma and Kalker, 2002): gain, rate and codec hardly change
    that, nor does a shift that is small beside a 33rd of the recording.

    Args:
        samples: float32 [n], mono, n > 0.
        rate: of the samples.
    """
    size = max(_SHORTEST, 2 * len(samples) // _TIMES)
    padded = np.pad(samples, (0, max(0, size - len(samples))))
    starts = np.linspace(0, len(padded) - size, _TIMES).round().astype(int)
    windows = np.stack([padded[start : start + size] for start in starts]) * np.hanning(size)
    power = np.abs(np.fft.rfft(windows, axis=1)) ** 2
    edges = np.searchsorted(np.fft.rfftfreq(size, 1 / rate), _EDGES)
    energy = np.stack([power[:, a:b].sum(1) for a, b in itertools.pairwise(edges)], 1)
    bits = np.diff(np.diff(np.log(energy + 1e-12), axis=1), axis=0) > 0
    return np.packbits(bits).tobytes().hex()


def same_sound(one: str, other: str) -> bool:
    """Whether two fingerprints are of one sound."""
    return (int(one, 16) ^ int(other, 16)).bit_count() <= SAME
