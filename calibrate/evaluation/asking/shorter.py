"""Methods that shorten the recording and not the prompt: played faster, and without silence.

The whole model hears the shorter recording, encoder included. How many audio tokens a number of
samples becomes is the front end's arithmetic: mostly any count can be met, and where an encoder
pads to whole windows the nearest one is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from calibrate.models.frontends.base import FrontEnd
from calibrate.sound.shortening import stretched, without_silence


@dataclass(frozen=True)
class Shortening:
    """What is done to the recordings of an item before anything hears them."""

    silence: bool = False
    """Whether pauses are cut out."""
    fastest: float = 1.0
    """Largest tempo; 1 is the recording's own."""

    def __call__(
        self, audios: Sequence[np.ndarray], frontend: FrontEnd, count: int
    ) -> list[np.ndarray]:
        """Return the recordings, float32 [n] each, shortened toward ``count`` audio tokens in all.

        They are played no slower than they were: without silence they may be fewer tokens. One that
        has nothing but silence is left whole.
        """
        rate = frontend.sample_rate
        if self.silence:
            cut = [without_silence(audio, rate) for audio in audios]
            least = shortest(frontend)
            audios = [b if len(b) >= least else a for a, b in zip(audios, cut, strict=True)]
        lengths = [len(audio) for audio in audios]
        return [
            stretched(audio, rate, length)
            for audio, length in zip(audios, self.fitting(lengths, frontend, count), strict=True)
        ]

    def fitting(self, lengths: Sequence[int], frontend: FrontEnd, count: int) -> list[int]:
        """Return how many samples are left of recordings of ``lengths``.

        Each gets a share of ``count`` by its own tokens, so that all are played equally fast.
        """
        tokens = [frontend.audio_tokens(length) for length in lengths]
        total = sum(tokens)
        wanted = max(count, math.ceil(total / self.fastest))
        if wanted >= total:
            return list(lengths)
        # at least one each, however short it is beside the others
        rest = max(0, wanted - len(tokens))
        edges = [round(rest * part / total) for part in np.cumsum([0, *tokens]).tolist()]
        return [
            _nearest(frontend, length, 1 + share)
            for length, share in zip(lengths, np.diff(edges).tolist(), strict=True)
        ]


def shortest(frontend: FrontEnd) -> int:
    """Return the fewest samples that the model takes and hears."""
    least = max(1, math.ceil(frontend.min_seconds * frontend.sample_rate))
    return max(least, _first(lambda samples: frontend.audio_tokens(samples) > 0))


def _nearest(frontend: FrontEnd, length: int, count: int) -> int:
    """Return the most samples up to ``length`` whose tokens are nearest to ``count``."""
    least = shortest(frontend)

    def most(tokens: int) -> int:
        """The most samples that are no more than ``tokens``."""
        return min(length, _first(lambda n: frontend.audio_tokens(n) > tokens, length) - 1)

    below = most(count)
    above = most(frontend.audio_tokens(max(below + 1, least)))
    if below < least:
        return min(length, max(above, least))
    nearer = frontend.audio_tokens(above) - count < count - frontend.audio_tokens(below)
    return above if nearer else below


def _first(holds: Callable[[int], bool], most: int | None = None) -> int:
    """Return the first whole number from 1 on for which a condition holds that then stays so.

    ``most`` + 1 where it holds for none up to there.
    """
    low, high = 0, 1
    while not holds(high):
        low, high = high, 2 * high
        if most is not None and low >= most:
            return most + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
