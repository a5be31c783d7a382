"""What is odd about samples: silence, clipping, another scale, channels that cancel."""

from __future__ import annotations

import numpy as np

from calibrate.terminal.errors import AudioError

#: A peak below this is silence: -80 dB of full scale, less than one step of 12 bits.
_SILENT = 1e-4
#: Share of samples that are exactly zero, from which a recording is called mostly silent.
_MOSTLY = 0.9
#: From here on a sample is at full scale: the largest of 16 bits.
_FULL = 1 - 2**-15
#: Share of samples at full scale that speech and music do not reach unless they are clipped.
_CLIPPED = 1e-3
#: Floats up to 1 are full scale; decoders overshoot by less than this, integers by more.
_INTEGERS = 8.0
#: No scale of integers explains more: 32 bits.
_ABSURD = 2.0**32
#: Averaged channels that keep less than this share of their energy cancel (-20 dB).
_CANCELLED = 0.01


class Levels:
    """Sums over the samples of a recording, channel by channel, before they are averaged."""

    def __init__(self) -> None:
        self._samples = 0
        self._zeros = 0
        self._full = 0
        self._bad = 0
        self._first_bad = 0
        self._peak = 0.0
        self._energy = 0.0
        self._mono_energy = 0.0

    def add(self, samples: np.ndarray, mono: np.ndarray) -> None:
        """Count samples, float32 [channels, n], and their average [n]."""
        finite = np.isfinite(samples).all(axis=0)
        if not finite.all():
            if not self._bad:
                self._first_bad = self._samples + int(np.argmin(finite))
            self._bad += int((~finite).sum())
        loudness = np.abs(samples).max(axis=0)
        self._samples += len(mono)
        self._zeros += int((loudness == 0).sum())
        self._full += int((loudness >= _FULL).sum())
        self._peak = max(self._peak, float(loudness.max(initial=0.0, where=finite)))
        with np.errstate(over="ignore", invalid="ignore"):  # told by the peak
            self._energy += float(np.square(samples, dtype=np.float64).mean(axis=0).sum())
            self._mono_energy += float(np.square(mono, dtype=np.float64).sum())

    def check(self, name: str, rate: int) -> None:
        """Refuse what is no sound.

        Raises:
            AudioError: samples that are NaN, infinite, or larger than any scale explains.
        """
        if self._bad:
            raise AudioError(
                f"{name}: NaN or infinite samples ({self._bad} of {self._samples}, the first at"
                f" {self._first_bad / rate:.3f} s); export the recording again"
            )
        if self._peak > _ABSURD:
            raise AudioError(
                f"{name}: samples up to {self._peak:.3g}, where full scale is 1; that is no sound:"
                " export the recording again"
            )

    def remarks(self) -> list[str]:
        """Return what should be said of the recording."""
        found = []
        if self._peak < _SILENT:
            found.append(f"it is silent: no sample is larger than {self._peak:.2g} of full scale")
        elif self._zeros > _MOSTLY * self._samples:
            share = 100 * self._zeros / self._samples
            found.append(f"it is mostly silent: {share:.1f} % of its samples are zero")
        if self._peak >= _INTEGERS:
            found.append(
                f"its samples reach {self._peak:.6g}, where full scale is 1, and are used as they"
                " are; integers stored as floats are to be divided by their full scale (32768 for"
                " 16 bits)"
            )
        elif self._full >= _CLIPPED * self._samples:
            share = 100 * self._full / self._samples
            beyond = f", up to {self._peak:.3g}" if self._peak > 1 else ""
            found.append(
                f"it is clipped: {share:.2g} % of its samples are at full scale or beyond{beyond};"
                " record it with less gain"
            )
        if self._peak >= _SILENT and self._mono_energy < _CANCELLED * self._energy:
            found.append(
                "its channels cancel each other when they are averaged (one is the other upside"
                " down); give one channel by itself: ffmpeg -i IN -af pan=mono|c0=c0 OUT.wav"
            )
        return found
