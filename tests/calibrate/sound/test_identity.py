"""One sound in different files is the same; different sounds are not."""

import itertools

import av
import numpy as np
import pytest
import soundfile
import soxr

from calibrate.evaluation.datasets.scenes import scenes
from calibrate.sound.identity import SAME, fingerprint, same_sound
from calibrate.sound.reading import load_audio

RATE = 16_000


@pytest.fixture(scope="module")
def sounds():
    """Scenes of two lengths, as files hold them."""
    return [item.read()[0] for s in (4.0, 10.0) for item in scenes(s, 3).items]


def apart(one, other):
    return (int(one, 16) ^ int(other, 16)).bit_count()


def encoded(path, samples, rate, codec, bits):
    """Write samples through a lossy codec."""
    given = soxr.resample(samples, RATE, rate)[None]
    with av.open(path, "w") as file:
        stream = file.add_stream(codec, rate=rate, bit_rate=bits, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            (given * 32_767).astype(np.int16), format="s16", layout="mono"
        )
        frame.sample_rate = rate
        file.mux([packet for each in (frame, None) for packet in stream.encode(each)])
    return path


@pytest.mark.parametrize(
    ("name", "rate", "codec", "bits"),
    [
        ("a.mp3", 44_100, "libmp3lame", 64_000),
        ("a.mp3", 16_000, "libmp3lame", 16_000),
        ("a.m4a", 44_100, "aac", 48_000),
        ("a.ogg", 48_000, "libopus", 24_000),
    ],
)
def test_codecs_do_not_hide_a_sound(sounds, tmp_path, name, rate, codec, bits):
    for sound in sounds[::4]:
        path = encoded(tmp_path / name, sound, rate, codec, bits)
        assert same_sound(fingerprint(sound, RATE), fingerprint(load_audio(path), RATE))


def test_rate_gain_and_container_do_not_either(sounds, tmp_path):
    sound = sounds[0]
    soundfile.write(tmp_path / "a.flac", 0.1 * soxr.resample(sound, RATE, 22_050), 22_050)
    other = load_audio(tmp_path / "a.flac", 24_000)
    assert same_sound(fingerprint(sound, RATE), fingerprint(other, 24_000))


def test_different_sounds_are_different(sounds):
    noise = np.random.default_rng(0).normal(0, 0.1, (20, RATE)).astype(np.float32)
    marks = [fingerprint(sound, RATE) for sound in (*sounds, *noise)]
    nearest = min(itertools.starmap(apart, itertools.combinations(marks, 2)))
    assert nearest > SAME + 8
    assert not any(same_sound(a, b) for a, b in itertools.combinations(marks, 2))


@pytest.mark.parametrize("length", [1, 100, 3_000])
def test_short_sounds_have_a_fingerprint(length):
    sound = np.random.default_rng(length).normal(0, 0.1, length).astype(np.float32)
    mark = fingerprint(sound, RATE)
    assert len(mark) == 64
    assert same_sound(mark, fingerprint(sound, RATE))
