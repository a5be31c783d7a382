"""Every container and codec, against what ffmpeg makes of it."""

import subprocess

import numpy as np
import pytest

from calibrate.sound.reading import read
from tests.calibrate.sound.expect import COUNT, FFMPEG, FILES, FIRST, decoded, lag
from tiny_omni import DEMO

EXPECTED = np.load(FILES / "expected.npz")
#: ffmpeg 5.1 puts a first stream of 16 kHz and a second of 24 kHz out at one rate, and so longer.
OTHER_LENGTH = {"joined_rates.ogg": 2.0}


@pytest.mark.parametrize("name", [name for name in EXPECTED.files if "/" not in name])
def test_committed_files_are_as_ffmpeg_decodes_them(name):
    length, rate = EXPECTED[f"{name}/shape"].tolist()
    recording = read(FILES / name, rate)
    seconds = OTHER_LENGTH.get(name, length / rate)
    assert len(recording.samples) / rate == pytest.approx(seconds, abs=0.02)
    found = min(
        np.abs(recording.samples[FIRST + k : FIRST + k + COUNT] - EXPECTED[name]).max()
        for k in range(-300, 301)
    )
    assert found < 1e-4


def test_streams_of_several_rates_joined_say_so():
    (remark,) = read(FILES / "joined_rates.ogg").warnings
    assert "16000 Hz with 1 channels, then 24000 Hz with 2 channels" in remark


#: How ffmpeg makes it -> the file's ending.
MADE = {
    "-c:a pcm_u8": "wav",
    "-c:a pcm_s24le": "wav",
    "-c:a pcm_s32le": "wav",
    "-c:a pcm_f64le": "wav",
    "-c:a pcm_s64le -f nut": "nut",
    "-c:a pcm_mulaw -ar 8000": "wav",
    "-c:a pcm_alaw -ar 8000": "wav",
    "-ar 96000": "wav",
    "-ac 6": "wav",
    "-rf64 always": "wav",
    "-c:a adpcm_ms": "wav",
    "-c:a g726 -ar 8000 -ac 1": "wav",
    "-c:a libmp3lame -f wav": "wav",
    "": "w64",
    "-c:a pcm_s16be": "aiff",
    "-c:a pcm_s16be -ac 2": "caf",
    "-c:a pcm_s16be -ac 1": "au",
    "-c:a flac": "flac",
    "-c:a flac -f ogg": "oga",
    "-c:a alac": "m4a",
    "-c:a aac": "mp4",
    "-c:a aac -movflags faststart": "mov",
    "-c:a aac -movflags frag_keyframe+empty_moov": "mp4",
    "-c:a aac -f adts": "aac",
    "-c:a aac -f mpegts": "ts",
    "-c:a libmp3lame -b:a 64k": "mp3",
    "-c:a libmp3lame -q:a 4": "mp3",
    "-c:a libmp3lame -write_xing 0": "mp3",
    "-c:a mp2": "mp2",
    "-c:a libopus -ar 48000": "opus",
    "-c:a libopus -ar 48000 -f webm": "webm",
    "-c:a libvorbis": "ogg",
    "-c:a libvorbis -f matroska": "mkv",
    "-c:a ac3": "ac3",
    "-c:a wmav2": "wma",
    "-c:a tta": "tta",
    "-c:a wavpack": "wv",
    "-c:a g722 -ar 16000 -ac 1": "g722",
    "-c:a libspeex -ar 16000 -ac 1": "spx",
}


@pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize("options", MADE)
def test_equals_the_installed_ffmpeg(tmp_path, options):
    path = tmp_path / f"made.{MADE[options]}"
    command = [FFMPEG, "-v", "error", "-i", str(DEMO), "-t", "1.517", "-ar", "44100", "-ac", "2"]
    made = subprocess.run([*command, *options.split(), str(path)], capture_output=True, text=True)
    if "Unknown encoder" in made.stderr:
        pytest.skip(made.stderr.strip())
    assert made.returncode == 0, made.stderr
    theirs, rate = decoded(path)
    recording = read(path, rate)
    ours = recording.samples
    assert recording.warnings == ()
    assert len(ours) / rate == pytest.approx(len(theirs) / rate, abs=0.02)
    shift = lag(ours, theirs)
    begin, end = 500, min(len(ours), len(theirs)) - 500
    assert np.abs(ours[begin + shift : end + shift] - theirs[begin:end]).max() < 1e-4


@pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not installed")
def test_a_video_gives_its_sound(tmp_path):
    path = tmp_path / "film.mp4"
    options = ["-f", "lavfi", "-i", "testsrc=s=64x64:d=1", "-t", "1", "-c:v", "mpeg4"]
    subprocess.run([FFMPEG, "-v", "error", "-i", DEMO, *options, path], check=True)
    theirs, rate = decoded(path)
    assert abs(len(read(path, rate).samples) - len(theirs)) < 0.02 * rate


@pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not installed")
def test_of_several_streams_the_one_with_most_channels_is_taken_and_named(tmp_path):
    path = tmp_path / "two.mkv"
    options = ["-map", "0", "-map", "0", "-t", "1", "-ac:a:1", "2", "-disposition:a", "0"]
    subprocess.run([FFMPEG, "-v", "error", "-i", DEMO, *options, path], check=True)
    assert read(path).warnings == ("it has 2 sound streams; number 2 is taken",)
