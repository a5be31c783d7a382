"""Decoding through FFmpeg's libraries: packets of one sound stream to blocks of samples.

As ``ffmpeg`` does, a packet that cannot be decoded is left out and decoding goes on; unlike there,
it is remembered. FFmpeg is handed an open file and may open nothing else: playlists and other
formats that name further files or addresses find none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import av
import av.error
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from calibrate.sound.files.account import Account, Fate
from calibrate.sound.files.sources import Span
from calibrate.terminal.errors import AudioError

#: Rates that recordings have, in Hz: others are lies of headers, and cost memory by their ratio.
_LEAST_RATE, _MOST_RATE = 1_000, 1_000_000
#: PyAV reads past the end of a frame that holds more channels apart than this, and crashes.
_MOST_PLANES = 8
#: Full scale of integer samples, by FFmpeg's name of their format.
_FULL_SCALE = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31}


@contextlib.contextmanager
def opened_sound(span: Span, name: str, begin: float = 0.0) -> Iterator[Sound]:
    """Open a container and choose its sound.

    Args:
        span: its bytes; the ending of the span's own name tells what a file without a header is.
        name: for messages.
        begin: seconds of sound before this one, where it is part of a chain.

    Raises:
        AudioError: not audio, no sound in it, or sound of a kind that is not known.
    """
    try:
        container = av.open(
            span, mode="r", metadata_errors="replace", options={"protocol_whitelist": "none"}
        )
    except (av.error.FFmpegError, ValueError) as error:
        raise AudioError(
            f"{name}: not audio that FFmpeg can read, or damaged ({_reason(error)}); record or copy"
            " it again"
        ) from error
    with container:
        yield Sound(container, name, begin)


class Sound:
    """The sound of one container, with the account of it."""

    def __init__(self, container: InputContainer, name: str, begin: float) -> None:
        self._container = container
        self._name = name
        self._stream = _choose(container, name)
        self.account = Account(container, self._stream, name, begin)

    def skip(self, seconds: float) -> float:
        """Go on at or shortly before a time, where that is exact; return how much is left out.

        In a WAV file of plain samples bytes tell the time. Elsewhere nothing is left out: streams
        joined on, damage, and rates that vary show on the way only.
        """
        stream, plain = self._stream, self._stream.codec_context.name.startswith("pcm_")
        place = int(seconds * stream.codec_context.sample_rate)
        stated = self.account.stated or 0.0
        if self.account.format != "wav" or not plain or not place or seconds >= stated:
            return 0.0
        self._container.seek(place, stream=stream)
        first = next(self._packets(), None)
        if first is None or first.pts != place:
            place = 0
        self._container.seek(place, stream=stream)
        self.account.seconds = place / stream.codec_context.sample_rate
        return self.account.seconds

    def blocks(self) -> Iterator[tuple[np.ndarray, int]]:
        """Decode; yields float32 [channels, n], full scale 1, and their rate.

        Raises:
            AudioError: the stream breaks off, nothing of it can be decoded, or it has a rate that
                no recording has.
        """
        decoded = False
        for packet in self._packets():
            for frame in self._frames(packet):
                _check_rate(frame.rate, self._name)
                if frame.format.is_planar and frame.layout.nb_channels > _MOST_PLANES:
                    raise AudioError(
                        f"{self._name}: {frame.layout.nb_channels} channels of"
                        f" {self._stream.codec_context.name}, and at most {_MOST_PLANES} can be"
                        " had of it; mix it down: ffmpeg -i IN -ac 2 OUT.wav"
                    )
                self.account.follow(frame)
                decoded = True
                yield _floats(frame), frame.rate
        if self.account.skipped and not decoded:
            raise AudioError(
                f"{self._name}: none of its {len(self.account.skipped)} packets of"
                f" {self._stream.codec_context.name} can be decoded: damaged, or encrypted"
            )

    def _packets(self) -> Iterator[Packet[AudioStream]]:
        try:
            yield from self._container.demux(self._stream)
        except IndexError:
            # PyAV asks all streams for what they hold back, at last those that it has not listed
            self.account.intruded = True
        except av.error.FFmpegError as error:
            raise AudioError(
                f"{self._name}: truncated or damaged: it breaks off after"
                f" {self.account.seconds:.2f} s ({_reason(error)}); copy it again, or make what is"
                " left a file of its own: ffmpeg -i IN rest.wav"
            ) from error

    def _frames(self, packet: Packet[AudioStream]) -> list[AudioFrame]:
        """Decode a packet; an empty one hands out what the decoder holds back at the end."""
        fate, frames = Fate.SOUND, []
        try:
            frames = packet.decode()
        except MemoryError:
            raise
        except av.error.FFmpegError:
            fate = Fate.SKIPPED
        if any(frame.is_corrupt for frame in frames):
            fate = Fate.DOUBTFUL
        self.account.note(packet, fate)
        return frames


def _choose(container: InputContainer, name: str) -> AudioStream:
    """Take the stream that ffmpeg takes: the default one, else the one with most channels."""
    streams = container.streams.audio
    known = [stream for stream in streams if stream.codec_context is not None]
    if not known:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "none"
        raise AudioError(
            f"{name}: not audio: it holds no sound (streams: {kinds})"
            if not streams
            else f"{name}: its sound is coded in a way that FFmpeg cannot decode; convert it first"
        )
    chosen = max(known, key=lambda s: (s.disposition.default, s.codec_context.channels))
    if not chosen.codec_context.sample_rate:
        raise AudioError(f"{name}: not audio that FFmpeg can read, or damaged: it has no rate")
    _check_rate(chosen.codec_context.sample_rate, name)
    return chosen


def _check_rate(rate: int, name: str) -> None:
    if not _LEAST_RATE <= rate <= _MOST_RATE:
        raise AudioError(
            f"{name}: its header states {rate} samples a second, which no recording has; write the"
            " true rate into it, or export it again"
        )


def _floats(frame: AudioFrame) -> np.ndarray:
    """Return a frame as float32 [channels, n], full scale 1."""
    kind = frame.format.name.removesuffix("p")
    if kind == "s64":  # numpy cannot be had of it
        (frame,) = av.AudioResampler(format="dbl").resample(frame)
        kind = "dbl"
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if kind in _FULL_SCALE:
        centre = np.float32(128 if kind == "u8" else 0)
        return (samples.astype(np.float32) - centre) / np.float32(_FULL_SCALE[kind])
    with np.errstate(over="ignore"):  # infinite then, and refused
        return samples.astype(np.float32, copy=False)


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).rstrip(".")
