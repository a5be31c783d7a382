import re

import numpy as np
import pytest
import soundfile
import transformers.audio_utils

from calibrate.sound.reading import DECODER, load_audio
from calibrate.terminal.errors import AudioError, MissingAudioError
from tiny_omni.clips import load_clips
from tiny_omni.demo import DEMO

RATE = 16_000


def tone(rate, seconds=1.0, hertz=440.0):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


@pytest.mark.parametrize("kind", ["wav", "mp3", "flac", "ogg"])
def test_formats_rates_and_channels_come_out_alike(recordings, clip, kind):
    original = soundfile.read(clip, frames=48_000, dtype="float32")[0]
    samples = load_audio(recordings[kind])
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert abs(len(samples) - 48_000) <= 16
    length = min(len(samples), 48_000)
    # correlation, not difference: mp3 and ogg lose detail
    assert np.corrcoef(samples[:length], original[:length])[0, 1] > 0.98


def test_audio_at_the_models_rate_is_untouched(clip):
    assert np.array_equal(load_audio(DEMO), soundfile.read(DEMO, dtype="float32")[0])
    # two decoders of Vorbis differ in the last bits of a float
    assert np.allclose(load_audio(clip), soundfile.read(clip, dtype="float32")[0], atol=1e-6)


def test_equals_what_transformers_reads(recordings):
    theirs = transformers.audio_utils.load_audio(str(recordings["wav"]), RATE, backend="soundfile")
    ours = load_audio(recordings["wav"])
    assert len(ours) == len(theirs)
    assert np.allclose(ours, theirs, atol=1e-4)


def test_channels_are_averaged(tmp_path):
    left, right = tone(RATE), tone(RATE, hertz=700)
    soundfile.write(tmp_path / "two.wav", np.stack([left, right], 1), RATE, subtype="FLOAT")
    assert np.allclose(load_audio(tmp_path / "two.wav"), (left + right) / 2, atol=1e-6)


def test_resampling_leaves_no_aliases(tmp_path):
    soundfile.write(tmp_path / "high.wav", tone(44_100, hertz=10_000), 44_100)
    inside = load_audio(tmp_path / "high.wav")[1000:-1000]
    assert np.abs(inside).max() < 1e-4  # -74 dB or less of what would fold down to 6 kHz


def test_another_rate(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(RATE), RATE)
    assert abs(len(load_audio(tmp_path / "a.wav", 8_000)) - 8_000) <= 1


def test_the_decoder_names_its_parts():
    for name in ("PyAV", "libavformat", "libavcodec", "soundfile", "libsndfile", "soxr"):
        assert re.search(rf"{name} \d+\.\d", DECODER)


def test_every_embedded_kind_is_read_whole():
    one_of_each = {clip.kind: clip.path for clip in load_clips("calibration")}
    assert len(one_of_each) > 5
    for path in one_of_each.values():
        # as ffmpeg, which leaves out the last short block of Vorbis
        assert 0 <= soundfile.info(path).frames - len(load_audio(path)) <= 256


def test_missing_file(tmp_path):
    with pytest.raises(MissingAudioError, match=r"nothing\.wav: no such audio file"):
        load_audio(tmp_path / "nothing.wav")


def test_folder(tmp_path):
    with pytest.raises(MissingAudioError, match="is a folder"):
        load_audio(tmp_path)


def test_empty_file(tmp_path):
    (tmp_path / "empty.wav").touch()
    with pytest.raises(AudioError, match="0 bytes"):
        load_audio(tmp_path / "empty.wav")


@pytest.mark.parametrize("name", ["text.wav", "text.mp3", "text.raw", "text"])
def test_not_audio(tmp_path, name):
    (tmp_path / name).write_text("this is a letter, not a song\n" * 50)
    with pytest.raises(AudioError, match="not audio"):
        load_audio(tmp_path / name)


def test_no_samples(tmp_path):
    soundfile.write(tmp_path / "none.wav", np.zeros(0), RATE)
    with pytest.raises(AudioError, match="no samples"):
        load_audio(tmp_path / "none.wav")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers(tmp_path, bad):
    samples = np.zeros((RATE, 2), np.float32)
    samples[4_000, 1] = bad
    soundfile.write(tmp_path / "bad.wav", samples, RATE, subtype="FLOAT")
    with pytest.raises(
        AudioError, match=r"NaN or infinite samples \(1 of \d+, the first at 0\.250 s\)"
    ):
        load_audio(tmp_path / "bad.wav")


KINDS = {
    "wav": {},
    "flac": {},
    "mp3": {},
    "ogg": {},
    "aiff": {},
    "au": {},
    "w64": {},
    "rf64": {"format": "RF64"},
    "opus": {"format": "OGG", "subtype": "OPUS"},
}


@pytest.mark.parametrize("share", [0.9999, 0.9, 0.5, 0.05])
@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_file_is_never_silently_short(tmp_path, kind, share):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (48_000 * 2 + 77, 2))
    path = tmp_path / f"cut.{kind}"
    soundfile.write(path, noise, 48_000, **KINDS[kind])
    whole = path.read_bytes()
    assert len(load_audio(path)) > 0
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(AudioError, match=r"truncated|damaged|no samples"):
        load_audio(path)


def test_a_wav_of_unknown_length_is_read(tmp_path):
    path = tmp_path / "stream.wav"
    soundfile.write(path, tone(RATE), RATE)
    content = bytearray(path.read_bytes())
    data = content.find(b"data")
    content[4:8] = content[data + 4 : data + 8] = b"\xff\xff\xff\xff"  # as ffmpeg writes to a pipe
    path.write_bytes(content)
    assert len(load_audio(path)) == RATE
