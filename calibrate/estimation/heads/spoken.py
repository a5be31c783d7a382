"""Recordings of which is known, or can be found out, when each word of an answer sounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

#: What reads a recording: takes ``max_seconds``; float32 mono at 16 kHz.
Reader = Callable[..., np.ndarray]


@dataclass(frozen=True)
class Word:
    """One word of an answer, and when it sounds."""

    begin: int
    """Where it begins in the answer, in characters."""
    start: float
    """In seconds from the beginning of the recording."""
    end: float


@dataclass(frozen=True)
class Spoken:
    """One recording, and the question that has it written down."""

    id: str
    read: Reader = field(compare=False, repr=False)
    prompt: str
    cluster: str
    """Its speaker."""
    answer: str = ""
    words: tuple[Word, ...] = ()
    """In the order of the answer; none: the model's own answer is aligned with the recording."""
    where: str = ""
    """File and line of a manifest, for messages."""


def shipped_speech(count: int, *, seed: int = 0, seconds: float = 10.0) -> Iterator[Spoken]:
    """Yield digits said one after another in scenes of the calibration clips, report part left out.

    Args:
        count: how many.
        seed: draws them.
        seconds: length of each.
    """
    from calibrate.estimation.samples.sample import FOLDS
    from tiny_omni.clips import SAMPLE_RATE, Bank, load_clips
    from tiny_omni.parts import parts
    from tiny_omni.questions import pose

    clips = parts(load_clips("calibration"), FOLDS)
    bank = Bank([clip for fold in range(FOLDS) for clip in clips[fold]])
    for index in range(count):
        name = f"{seed}/heads/{index}"
        scene, question, cluster = pose(bank, "digits", index, name, seconds)
        item = scene.item("digits")
        assert item is not None
        words, begin = [], 0
        for placed in item.clips:
            words.append(Word(begin, placed.start / SAMPLE_RATE, placed.end / SAMPLE_RATE))
            begin += len(placed.clip.label) + 1
        yield Spoken(
            name,
            lambda samples=scene.samples, **_: samples,
            question.prompt,
            cluster,
            question.answer,
            tuple(words),
        )
