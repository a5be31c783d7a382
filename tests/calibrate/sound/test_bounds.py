"""What a file unpacks to is bounded, by its header and while it is decoded; its lies are said."""

import io
import struct

import av
import numpy as np
import pytest
import soundfile

from calibrate.sound.files.account import Account
from calibrate.sound.files.sources import Source
from calibrate.sound.reading import LONGEST, load_audio, read
from calibrate.terminal.errors import AudioError

RATE = 16_000


class Counted(io.BytesIO):
    """Bytes that know how many of them were read."""

    taken = 0

    def read(self, size=-1):
        content = super().read(size)
        self.taken += len(content)
        return content


def source(content):
    return Source("it", "", Counted(content))


def flac(seconds, stated):
    """Noise that says that it holds ``stated`` samples; 0: unknown."""
    file = io.BytesIO()
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, int(seconds * RATE))
    soundfile.write(file, samples, RATE, format="FLAC")
    content = bytearray(file.getvalue())
    content[21] = content[21] & 0xF0 | stated >> 32
    content[22:26] = struct.pack(">I", stated & 0xFFFFFFFF)
    return bytes(content)


def wav(rate=RATE, samples=RATE, **changes):
    """A WAV file of 16 bits whose header is changed by place and bytes."""
    file = io.BytesIO()
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, samples)
    soundfile.write(file, noise, rate, format="WAV")
    content = bytearray(file.getvalue())
    for place, value in changes.items():
        at = int(place[1:])
        content[at : at + len(value)] = value
    return bytes(content)


def test_ten_hours_are_refused_by_the_header():
    given = source(flac(60, 36_000 * RATE))
    with pytest.raises(AudioError, match=r"36000\.00 s long by its header.*at most 30 s; cut it"):
        read(given, max_seconds=30)
    assert given.file.taken < given.size / 4


def test_nobody_reads_without_a_limit():
    with pytest.raises(AudioError, match=f"at most {LONGEST:g} s"):
        load_audio(source(flac(1, 36_000 * RATE)))


def test_a_stream_is_decoded_no_further_than_is_taken():
    given = source(flac(120, 0))
    with pytest.raises(AudioError, match="longer, and may be at most 5 s"):
        read(given, max_seconds=5)
    assert given.file.taken < given.size / 3


@pytest.mark.parametrize("rate", [1, 999, 2**31 - 1])
def test_a_rate_that_no_recording_has(rate):
    with pytest.raises(AudioError, match=f"states {rate} samples a second, which no recording"):
        read(source(wav(_24=struct.pack("<I", rate))))


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_a_rate_that_contradicts_the_header_is_said(rate):
    recording = read(source(wav(_24=struct.pack("<I", rate))))
    (said,) = recording.warnings
    assert f"{rate} samples a second" in said
    assert "it states 32000" in said


def test_a_size_that_leaves_sound_out_is_said():
    recording = read(source(wav(_40=struct.pack("<I", 1_000))))
    assert len(recording.samples) == 500
    assert recording.warnings[0].startswith("its header ends the sound at 1044 bytes, and 31000")


def test_a_duration_that_is_too_short_is_said():
    recording = read(source(flac(3, RATE)))
    assert len(recording.samples) == 3 * RATE
    assert recording.warnings == (
        "its header states 1.00 s, and it holds 3.00 s, all of which is used",
    )


@pytest.mark.parametrize(
    "head",
    [
        b"caff\0\1\0\0free" + b"\x7f" + b"\xff" * 7,
        bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + b"\xff" * 8,
        b"\0\0\0\1ftyp" + b"\xff" * 8,
        b"\x1aE\xdf\xa3\x01" + b"\xfe" * 7,
        b"ID3\4\0\0" + b"\x7f" * 4,
    ],
)
def test_sizes_beyond_all_files(head):
    with pytest.raises(AudioError, match="not audio"):
        read(source(head + bytes(100)))


def test_more_channels_apart_than_can_be_read(tmp_path):
    path = tmp_path / "many.wv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("wavpack", rate=RATE, layout="hexadecagonal")
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 16 * RATE), np.float32), format="flt", layout="hexadecagonal"
        )
        frame.rate = RATE
        resampler = av.AudioResampler(format=stream.format, layout="hexadecagonal", rate=RATE)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    with pytest.raises(AudioError, match="16 channels of wavpack, and at most 8"):
        read(path)


def test_no_channels():
    with pytest.raises(AudioError, match=r"none of its|not audio"):
        read(source(wav(_22=b"\0\0")))


@pytest.mark.parametrize(("offset", "duration"), [(0.5, None), (0.25, 0.5), (0.0, 0.3)])
def test_a_part_is_what_the_whole_has_there(offset, duration):
    content = wav()
    whole = read(source(content)).samples
    end = None if duration is None else round((offset + duration) * RATE)
    part = read(source(content), offset=offset, duration=duration).samples
    assert np.array_equal(part, whole[round(offset * RATE) : end])


def test_a_part_of_a_long_recording_is_no_longer_than_itself():
    content = flac(20, 20 * RATE)
    assert len(read(source(content), offset=15, duration=2, max_seconds=5).samples) == 2 * RATE
    assert len(read(source(content), offset=18, max_seconds=5).samples) == 2 * RATE


@pytest.mark.parametrize(
    ("offset", "duration", "message"),
    [
        (2.0, None, "before the offset of 2 s"),
        (0.5, 1.0, "1 s from 0.5 s on are asked for, and it ends after 1.00 s"),
        (-1.0, None, "offset is -1.0"),
        (float("nan"), None, "offset is nan"),
        (0.0, 0.0, "duration is 0.0"),
        (0.0, float("inf"), "duration is inf"),
    ],
)
def test_a_part_that_is_not_there(offset, duration, message):
    with pytest.raises(AudioError, match=message):
        read(source(wav()), offset=offset, duration=duration)


def test_resampling_in_batches_is_resampling_at_once():
    import soxr

    content = wav(44_100, 5 * 44_100)
    samples = soundfile.read(io.BytesIO(content), dtype="float32")[0]
    assert np.array_equal(read(source(content)).samples, soxr.resample(samples, 44_100, RATE, "HQ"))


SUBTYPES = [("PCM_16", 16_000), ("PCM_24", 44_100), ("FLOAT", 8_000), ("PCM_U8", 11_025)]


@pytest.mark.parametrize("kind", ["WAV", "RF64"])
@pytest.mark.parametrize(("subtype", "rate"), SUBTYPES)
def test_a_part_of_a_wav_is_gone_to(tmp_path, monkeypatch, kind, subtype, rate):
    path = tmp_path / "long.wav"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (20 * rate, 2))
    soundfile.write(path, noise, rate, subtype, format=kind)
    whole = read(path, rate).samples
    blocks = []
    follow = Account.follow
    monkeypatch.setattr(Account, "follow", lambda self, f: (blocks.append(f), follow(self, f)))
    for offset in (12.0, 12.3456, 19.9):
        part = read(path, rate, offset=offset, duration=0.05).samples
        assert np.array_equal(part, whole[round(offset * rate) :][: len(part)])
        assert abs(len(part) - 0.05 * rate) <= 1
    assert sum(block.samples for block in blocks) < rate


def test_a_part_of_a_wav_whose_header_lies_about_bytes_is_counted_off():
    content = wav(_32=(4).to_bytes(2, "little"), _28=(4 * RATE).to_bytes(4, "little"))
    whole = read(source(content))
    assert any("contradicts itself" in text for text in whole.warnings)
    part = read(source(content), offset=0.5).samples
    assert np.array_equal(part, whole.samples[RATE // 2 :])
