"""What is odd about a recording is said, once, and it is used all the same."""

import warnings

import numpy as np
import pytest
import soundfile

from calibrate.sound.reading import load_audio, read
from calibrate.terminal.errors import AudioError, AudioWarning
from tiny_omni import DEMO
from tiny_omni.clips import load_clips

RATE = 16_000
NOISE = np.random.default_rng(0).uniform(-0.1, 0.1, (RATE, 1))
HALF = np.where(np.arange(RATE)[:, None] < 1_000, NOISE, 0)


def written(path, samples, subtype="FLOAT"):
    soundfile.write(path, samples, RATE, subtype=subtype)
    return path


ODD = {
    "it is silent": np.zeros((RATE, 1)),
    "it is silent: no sample is larger than 5e-05": NOISE * 5e-4,
    "it is mostly silent: 93.8 %": HALF,
    "its samples reach 32767": NOISE * 327_670 / np.abs(NOISE).max() / 10,
    "it is clipped: 11 % of its samples are at full scale": np.clip(NOISE * 11.2, -1, 1),
    "it is clipped: 50 % of its samples are at full scale or beyond, up to 2": NOISE * 20,
    "its channels cancel": np.hstack([NOISE, -NOISE]),
    "its channels cancel each other": np.hstack([NOISE, -0.9 * NOISE]),
}


@pytest.mark.parametrize("said", ODD)
def test_odd_samples(tmp_path, said):
    path = written(tmp_path / "odd.wav", ODD[said])
    recording = read(path)
    assert [text for text in recording.warnings if text.startswith(said)] == [*recording.warnings]
    assert len(recording.warnings) == 1
    assert len(recording.samples) == RATE
    with pytest.warns(AudioWarning, match="odd.wav: it"):
        load_audio(path)


@pytest.mark.parametrize("scale", [1e30, 1e38])
def test_samples_that_no_scale_explains(tmp_path, scale):
    with pytest.raises(AudioError, match="that is no sound"):
        read(written(tmp_path / "a.wav", NOISE * scale))


def test_doubles_beyond_what_floats_hold(tmp_path):
    with pytest.raises(AudioError, match="NaN or infinite"):
        read(written(tmp_path / "a.wav", NOISE * 1e300, "DOUBLE"))


def test_nothing_is_said_of_sound_recordings(tmp_path):
    stereo = np.hstack([NOISE, np.roll(NOISE, 7)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_audio(DEMO)
        load_audio(written(tmp_path / "a.wav", stereo))
        load_audio(written(tmp_path / "b.wav", np.hstack([NOISE, 0 * NOISE]), "PCM_16"))
        for clip in load_clips("calibration")[::40]:
            load_audio(clip.path)
