"""A file that ends early is never silently short, and one whose length is left open is read."""

import struct

import av
import numpy as np
import pytest
import soundfile

from calibrate.sound.reading import read
from calibrate.terminal.errors import AudioError
from tests.calibrate.sound.expect import FILES

RATE = 16_000
NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 3 * 48_000 + 77)).astype(np.float32)


def encode(path, codec, **options):
    """Write three seconds of noise by FFmpeg's libraries."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=48_000, layout="mono")
        stream.bit_rate = 96_000
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=48_000)
        frame = av.AudioFrame.from_ndarray(NOISE, format="fltp", layout="mono")
        frame.rate = 48_000
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


#: Name -> codec and options of the container.
KINDS = {
    "mov.m4a": ("aac", {}),
    "fast.m4a": ("aac", {"movflags": "faststart"}),
    "alac.m4a": ("alac", {}),
    "a.mkv": ("libopus", {}),
    "a.webm": ("libopus", {}),
    "a.opus": ("libopus", {}),
    "noxing.mp3": ("libmp3lame", {"write_xing": "0"}),
    "xing.mp3": ("libmp3lame", {}),
    "a.aac": ("aac", {}),
    "a.ac3": ("ac3", {}),
    "a.wma": ("wmav2", {}),
    "a.tta": ("tta", {}),
    "a.wv": ("wavpack", {}),
    "adpcm.wav": ("adpcm_ms", {}),
    "a.caf": ("pcm_s16be", {}),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_truncated_file_is_refused(tmp_path, name):
    codec, options = KINDS[name]
    path = encode(tmp_path / name, codec, **options)
    whole = path.read_bytes()
    assert len(read(path, 48_000).samples) >= 3 * 48_000 - 2_100  # wma leaves its last block out
    for share in (0.93, 0.55, 0.12):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(AudioError, match=r"truncated|damaged"):
            read(path, 48_000)


@pytest.mark.parametrize("name", ["flac.oga", "joined.ogg", "phone.m4a", "gsm.wav", "adpcm.wav"])
def test_a_truncated_copy_of_a_committed_file(tmp_path, name):
    content = (FILES / name).read_bytes()
    for share in (0.99, 0.5, 0.1):
        (tmp_path / name).write_bytes(content[: int(len(content) * share)])
        with pytest.raises(AudioError, match=r"truncated|damaged"):
            read(tmp_path / name)


def test_a_streamed_flac_that_breaks_off_inside_a_frame(tmp_path):
    content = (FILES / "streamed.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(content[:-500])
    with pytest.raises(AudioError, match="its last packet is not whole"):
        read(tmp_path / "cut.flac")


@pytest.mark.parametrize("size", [b"\xff\xff\xff\xff", b"\0\0\0\0", struct.pack("<I", 0x7FFFFFFF)])
def test_a_wav_of_unknown_length_is_read_to_its_end(tmp_path, size):
    path = tmp_path / "stream.wav"
    soundfile.write(path, NOISE[0, :RATE], RATE)
    content = bytearray(path.read_bytes())
    place = content.find(b"data") + 4
    content[place : place + 4] = size
    path.write_bytes(content)
    recording = read(path)
    assert len(recording.samples) == RATE
    assert recording.warnings == ()


def test_what_follows_the_sound_is_no_truncation(tmp_path):
    mp3 = encode(tmp_path / "a.mp3", "libmp3lame")
    length = len(read(mp3).samples)
    mp3.write_bytes(mp3.read_bytes() + b"TAG" + bytes(125))
    assert len(read(mp3).samples) == length
    ogg = tmp_path / "a.ogg"
    ogg.write_bytes((FILES / "joined.ogg").read_bytes() + bytes(2_000))
    assert len(read(ogg).samples) == len(read(FILES / "joined.ogg").samples)


def test_mp3_joined_by_cat_is_read_to_the_end_and_checked_there(tmp_path):
    one = encode(tmp_path / "one.mp3", "libmp3lame").read_bytes()
    two = tmp_path / "two.mp3"
    two.write_bytes(one + one)
    assert len(read(two, 48_000).samples) >= 2 * 3 * 48_000
    two.write_bytes((one + one)[:-200])
    with pytest.raises(AudioError, match="truncated"):
        read(two)


@pytest.mark.parametrize(("name", "codec"), [("a.mp3", "libmp3lame"), ("a.m4a", "aac")])
def test_a_packet_that_cannot_be_decoded_is_left_out_and_said(tmp_path, name, codec):
    path = encode(tmp_path / name, codec, **({"write_xing": "0"} if codec != "aac" else {}))
    whole = len(read(path, 48_000).samples)
    content = bytearray(path.read_bytes())
    middle, length = len(content) // 2, 60 if codec == "aac" else 900
    content[middle : middle + length] = np.random.default_rng(1).bytes(length)
    path.write_bytes(content)
    recording = read(path, 48_000)
    assert whole - 8_000 < len(recording.samples) < whole
    (said,) = [text for text in recording.warnings if "could not be decoded" in text]
    assert 1.3 < float(said.partition(" at ")[2].partition(" s")[0]) < 1.7


def test_a_damaged_frame_of_flac_leaves_a_gap_that_is_said(tmp_path):
    content = bytearray((FILES / "streamed.flac").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 300] = bytes(300)
    (tmp_path / "a.flac").write_bytes(content)
    recording = read(tmp_path / "a.flac")
    lost = RATE - len(recording.samples)
    (said,) = recording.warnings
    assert lost > 0
    assert said.startswith(f"sound is missing, and the gap was closed: {lost / RATE:.2f} s at 0.")
