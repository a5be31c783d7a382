"""What a calibration has heard, by content: so that no evaluation asks the same again."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from calibrate.estimation.samples.sample import Sample
from calibrate.sound.identity import fingerprint, same_sound
from calibrate.sound.reading import SAMPLE_RATE
from headrouter_core.profile.profile import Profile

#: Hexadecimal digits of a prompt's digest.
_DIGITS = 16


def heard(samples: Iterable[Sample]) -> list[list[str]]:
    """Return the digest of each sample's prompt, and the fingerprint of its sound."""
    return [[_digest(sample.prompt), fingerprint(sample.read(), SAMPLE_RATE)] for sample in samples]


class Known:
    """What took part in the calibration of a profile, in choices or in the report."""

    def __init__(self, record: Iterable[Sequence[str]]) -> None:
        """Take what :func:`heard` returned."""
        self._sounds: dict[str, list[str]] = defaultdict(list)
        for prompt, sound in record:
            self._sounds[prompt].append(sound)

    @classmethod
    def of(cls, profile: Profile | None) -> Known | None:
        """Return what a profile was calibrated on; ``None`` where it does not say."""
        record = None if profile is None else profile.calibration.get("heard")
        return None if record is None else cls(record)

    def holds(self, prompt: str, audios: Sequence[np.ndarray], rate: int) -> bool:
        """Whether a prompt was asked of one of these recordings, whatever file each was in.

        Args:
            prompt: the question; case and white space make no other one.
            audios: float32 [n] each.
            rate: of their samples.
        """
        sounds = self._sounds.get(_digest(prompt), [])
        if not sounds:
            return False
        asked = [fingerprint(audio, rate) for audio in audios if len(audio)]
        return any(same_sound(one, other) for one in asked for other in sounds)


def _digest(prompt: str) -> str:
    plain = " ".join(prompt.casefold().split())
    return hashlib.sha256(plain.encode()).hexdigest()[:_DIGITS]
