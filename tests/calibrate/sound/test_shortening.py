"""Recordings played faster, and without silence."""

import numpy as np
import pytest

from calibrate.sound.shortening import stretched, without_silence
from calibrate.terminal.errors import AudioError

RATE = 16_000


def tone(seconds, hertz=440.0):
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def pitch(samples):
    return np.abs(np.fft.rfft(samples)).argmax() * RATE / len(samples)


@pytest.mark.parametrize("tempo", [1.0, 1.001, 1.5, 2.0, 3.3, 20.0])
def test_faster_has_the_length_asked_for_and_the_pitch_it_had(tempo):
    given = tone(5.0)
    found = stretched(given, RATE, round(len(given) / tempo))
    assert len(found) == round(len(given) / tempo)
    assert found.dtype == np.float32
    assert pitch(found) == pytest.approx(440, abs=RATE / len(found))
    assert np.abs(found[: len(found) - RATE // 50]).max() == pytest.approx(0.3, abs=0.05)
    assert tempo != 1 or np.array_equal(found, given)


def test_faster_goes_through_all_of_it():
    """What comes later in the recording comes later, and the end is not cut off."""
    parts = [tone(1.0, hertz) for hertz in (300, 600, 900, 1200)]
    found = stretched(np.concatenate(parts), RATE, 2 * RATE)
    heard = [pitch(part) for part in np.split(found, 4)]
    assert heard == pytest.approx([300, 600, 900, 1200], abs=20)


@pytest.mark.parametrize("length", [0, -1, RATE + 1])
def test_no_such_length(length):
    with pytest.raises(AudioError, match="cannot be played faster"):
        stretched(tone(1.0), RATE, length)


def test_pauses_are_cut_and_sound_is_kept():
    quiet = np.zeros(2 * RATE, np.float32)
    given = np.concatenate([quiet, tone(1.0), quiet, tone(0.5, 800), quiet])
    found = without_silence(given, RATE)
    assert 1.5 <= len(found) / RATE < 1.5 + 0.5  # a tenth of a second, and windows, a pause
    assert pitch(found[: RATE // 2]) == pytest.approx(440, abs=2)
    power = float((found.astype(float) ** 2).sum()) / float((given.astype(float) ** 2).sum())
    assert power == pytest.approx(1, abs=0.02)


def test_nothing_but_silence_is_nothing_and_noise_is_no_silence():
    assert len(without_silence(np.zeros(RATE, np.float32), RATE)) == 0
    noise = np.random.default_rng(0).normal(0, 0.1, 2 * RATE).astype(np.float32)
    assert len(without_silence(noise, RATE)) == pytest.approx(len(noise), abs=RATE // 50)


def test_equal_recordings_become_equal():
    given = np.random.default_rng(1).normal(0, 0.1, RATE).astype(np.float32)
    assert np.array_equal(stretched(given, RATE, 9_000), stretched(given, RATE, 9_000))
