"""Voices: any program that writes a wave file; how they are drawn."""

import random

import numpy as np
import pytest
import soundfile

from small_omni.speech.voices import Voice, draw, missing, several


def recording(path, samples, rate=22_050):
    soundfile.write(path, samples, rate)
    return Voice("copy", "male", ("cp", str(path), "{path}"))


def test_silence_around_is_cut_and_the_rate_is_16_khz(tmp_path):
    tone = 0.5 * np.sin(np.arange(22_050) * 0.2)
    silence = np.zeros(22_050)
    said = recording(tmp_path / "a.wav", np.concatenate([silence, tone, silence])).say("hello")
    assert said.dtype == np.float32
    assert len(said) / 16_000 == pytest.approx(1.1, abs=0.01)  # a twentieth of a second each side


def test_programs_that_fail_or_say_nothing_are_told_of(tmp_path):
    with pytest.raises(RuntimeError, match="cp says nothing for 'hello'"):
        recording(tmp_path / "a.wav", np.zeros(22_050)).say("hello")
    with pytest.raises(RuntimeError, match=r"cp cannot say 'hello': .*No such file"):
        Voice("gone", "male", ("cp", str(tmp_path / "gone.wav"), "{path}")).say("hello")


def test_voices_of_one_talk_differ():
    for seed in range(20):
        names = [voice.name for voice in several(3, random.Random(seed))]
        assert len(set(names)) == 3
    drawn = [draw(random.Random(seed)) for seed in range(200)]
    assert len({voice.name for voice in drawn}) > 40
    assert {voice.gender for voice in drawn} == {"female", "male"}


@pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}")
def test_installed_programs_speak():
    rng = random.Random(3)
    programs = {}
    while len(programs) < 2:
        voice = draw(rng)
        programs.setdefault(voice.command[0], voice)
    for voice in programs.values():
        assert 0.2 < len(voice.say("good morning, it's five o'clock")) / 16_000 < 5
