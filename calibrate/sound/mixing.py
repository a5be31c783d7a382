"""From decoded blocks to mono at one rate, a batch at a time: no more is held than is asked for."""

from __future__ import annotations

import numpy as np
import soxr

from calibrate.sound.levels import Levels
from calibrate.terminal.errors import AudioError

#: Samples that are averaged and resampled at once.
_BATCH = 1 << 16


class Mix:
    """Averages channels and resamples; begins anew where rate or channels change."""

    def __init__(self, name: str, sample_rate: int, most: float) -> None:
        """Prepare.

        Args:
            name: for messages.
            sample_rate: of the result.
            most: the longest that is taken, in seconds.
        """
        self._name = name
        self._sample_rate = sample_rate
        self._most = most
        self._levels = Levels()
        self._formats: list[tuple[int, int]] = []
        self._blocks: list[np.ndarray] = []
        self._waiting = 0
        self._stream: soxr.ResampleStream | None = None
        self._done: list[np.ndarray] = []
        self._length = 0

    def add(self, samples: np.ndarray, rate: int) -> None:
        """Take a block, float32 [channels, n].

        Raises:
            AudioError: the recording is longer than is taken.
        """
        if not samples.shape[1]:
            return
        form = rate, len(samples)
        if self._formats[-1:] != [form]:
            self._flush(last=True)
            self._formats.append(form)
            self._stream = None
            if rate != self._sample_rate:
                self._stream = soxr.ResampleStream(rate, self._sample_rate, 1, "float32", "HQ")
        self._blocks.append(samples)
        self._waiting += samples.shape[1]
        if self._waiting >= _BATCH:
            self._flush(last=False)

    def end(self) -> np.ndarray:
        """Return all that was taken, float32 [n].

        Raises:
            AudioError: it is longer than is taken, or holds samples that are no sound.
        """
        self._flush(last=True)
        if self._formats:
            self._levels.check(self._name, self._formats[0][0])
        return np.concatenate(self._done) if self._done else np.zeros(0, np.float32)

    def remarks(self) -> list[str]:
        """Return what should be said of the samples."""
        found = self._levels.remarks()
        if len(self._formats) > 1:
            forms = [f"{rate} Hz with {channels} channels" for rate, channels in self._formats[:4]]
            found.append(f"its format changes on the way: {', then '.join(forms)}")
        return found

    def _flush(self, *, last: bool) -> None:
        """Average and resample what is waiting; ``last``: of this format."""
        if not self._formats:
            return
        channels = self._formats[-1][1]
        samples = np.concatenate([np.zeros((channels, 0), np.float32), *self._blocks], axis=1)
        self._blocks, self._waiting = [], 0
        mono = samples.mean(axis=0, dtype=np.float32)
        self._levels.add(samples, mono)
        if self._stream is not None:
            mono = self._stream.resample_chunk(mono, last=last)
        self._done.append(mono)
        self._length += len(mono)
        if self._length > self._most * self._sample_rate:
            raise AudioError(too_long(self._name, None, self._most))


def too_long(name: str, seconds: float | None, most: float) -> str:
    """Return the message for a recording that is longer than is taken."""
    stated = "longer" if seconds is None else f"{seconds:.2f} s long by its header"
    return f"{name}: the audio is {stated}, and may be at most {most:g} s; cut it into parts"
