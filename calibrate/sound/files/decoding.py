"""Decoding through FFmpeg's libraries: packets of one sound stream to blocks of samples.

As ``ffmpeg`` does, a packet that cannot be decoded is left out and decoding goes on; unlike there,
it is remembered. FFmpeg is handed an open file and may open nothing else: playlists and other
formats that name further files or addresses find none.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterator, Sequence

import av
import av.error
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from calibrate.sound.files.containers import frame_size
from calibrate.sound.files.sources import Span
from calibrate.terminal.errors import AudioError

#: Rates that recordings have, in Hz: others are lies of headers, and cost memory by their ratio.
_LEAST_RATE, _MOST_RATE = 1_000, 1_000_000
#: PyAV reads past the end of a frame that holds more channels apart than this, and crashes.
_MOST_PLANES = 8
#: Full scale of integer samples, by FFmpeg's name of their format.
_FULL_SCALE = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31}
#: Timestamps that jump ahead by more, in seconds, leave a gap; smaller steps are rounding.
_JITTER = 0.02
#: Those that jump back by more belong to a stream that was joined on.
_RESTART = 1.0
#: Containers that stamp every packet; elsewhere timestamps are counted from bytes.
_TIMED = {"asf", "flac", "matroska", "mov", "mpegts", "ogg"}
#: Containers whose number of samples is written in them, exactly.
_EXACT = {"ape", "au", "flac", "nistsphere", "tta", "wv"}
#: Those whose duration is written in them too, and not guessed from size and bit rate.
_STATED = _EXACT | {"aiff", "asf", "caf", "flv", "matroska", "mov", "w64", "wav"}
#: How far a stated duration may be off before it is called wrong: seconds, and as a share.
_SLACK, _SLACK_SHARE = 0.5, 0.02
#: How many places a warning lists.
_LISTED = 5


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
    """The sound of one container, and what was found out about it on the way."""

    def __init__(self, container: InputContainer, name: str, begin: float) -> None:
        self._container = container
        self._name = name
        self._begin = begin
        self._stream = _choose(container, name)
        self._seconds = 0.0
        """Decoded so far, with gaps."""
        self._expected: float | None = None
        """The timestamp at which the next frame should begin."""
        self._lead: tuple[float, float] | None = None
        """When a timestamp was ahead of that, and by how much."""
        self._start = b""
        """How the first packet begins."""
        self._last: Packet[AudioStream] | None = None
        self._fate = _Fate.SOUND
        """What became of the last packet."""
        self._skipped: list[float] = []
        self._doubtful: list[float] = []
        self._gaps: list[tuple[float, float]] = []
        self._intruded = False
        """A stream turned up that the beginning of the file does not announce."""

    @property
    def stated(self) -> float | None:
        """Seconds of sound that the header states, where it does."""
        if self._format not in _STATED:
            return None
        if self._stream.duration is not None and self._stream.time_base is not None:
            return float(self._stream.duration * self._stream.time_base)
        if self._container.duration is None or len(self._container.streams) > 1:
            return None  # another stream may be longer
        return self._container.duration / 1e6

    @property
    def _format(self) -> str:
        return self._container.format.name.partition(",")[0]

    def skip(self, seconds: float) -> float:
        """Go on at or shortly before a time, where that is exact; return how much is left out.

        In a WAV file of plain samples bytes tell the time. Elsewhere nothing is left out: streams
        joined on, damage, and rates that vary show on the way only.
        """
        stream, plain = self._stream, self._stream.codec_context.name.startswith("pcm_")
        place = int(seconds * stream.codec_context.sample_rate)
        if self._format != "wav" or not plain or not place or seconds >= (self.stated or 0.0):
            return 0.0
        self._container.seek(place, stream=stream)
        first = next(self._packets(), None)
        if first is None or first.pts != place:
            place = 0
        self._container.seek(place, stream=stream)
        self._seconds = place / stream.codec_context.sample_rate
        return self._seconds

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
                self._follow(frame)
                decoded = True
                yield _floats(frame), frame.rate
        if self._skipped and not decoded:
            raise AudioError(
                f"{self._name}: none of its {len(self._skipped)} packets of"
                f" {self._stream.codec_context.name} can be decoded: damaged, or encrypted"
            )

    def check_end(self, *, complete: bool) -> None:
        """Raise where the stream ends early.

        Args:
            complete: the container is known to have all its bytes.
        """
        stated, why = self.stated, None
        if stated is not None:
            exact = self._format in _EXACT
            allowed = 1.5 / self._stream.codec_context.sample_rate if exact else _slack(stated)
            if self._seconds < stated - allowed and (exact or not complete):
                why = f"its header states {stated:.2f} s"
        if not complete and self._looks_cut():
            why = "its last packet is not whole"
        if why is not None:
            raise AudioError(
                f"{self._name}: truncated: {why}, and it ends after {self._seconds:.2f} s; copy it"
                " again, or make what is left a file of its own: ffmpeg -i IN rest.wav"
            )

    def remarks(self, *, whole: bool, complete: bool) -> list[str]:
        """Return what should be said of the stream, once it is decoded.

        Args:
            whole: it was decoded up to its end.
            complete: see :meth:`check_end`.
        """
        found = []
        streams = self._container.streams.audio
        if len(streams) > 1:
            number = streams.index(self._stream) + 1
            found.append(f"it has {len(streams)} sound streams; number {number} is taken")
        # a last packet behind all that was promised is padding
        padded = complete and whole and self._fate is _Fate.SKIPPED
        if skipped := self._skipped[: -1 if padded else None]:
            packets = "1 packet" if len(skipped) == 1 else f"{len(skipped)} packets"
            places = _listed([f"{place:.2f} s" for place in skipped])
            found.append(f"{packets} could not be decoded and left out, at {places}")
        if self._doubtful:
            places = _listed([f"{place:.2f} s" for place in self._doubtful])
            found.append(f"damaged sound was decoded, at {places}")
        if self._intruded:
            found.append("another stream begins in its midst, and was left out")
        if self._gaps:
            places = _listed([f"{length:.2f} s at {place:.2f} s" for place, length in self._gaps])
            found.append(f"sound is missing, and the gap was closed: {places}")
        stated = self.stated
        if whole and stated is not None and abs(stated - self._seconds) > _slack(stated):
            found.append(
                f"its header states {stated:.2f} s, and it holds {self._seconds:.2f} s, all of"
                " which is used"
            )
        return found

    def _packets(self) -> Iterator[Packet[AudioStream]]:
        try:
            yield from self._container.demux(self._stream)
        except IndexError:
            # PyAV asks all streams for what they hold back, at last those that it has not listed
            self._intruded = True
        except av.error.FFmpegError as error:
            raise AudioError(
                f"{self._name}: truncated or damaged: it breaks off after {self._seconds:.2f} s"
                f" ({_reason(error)}); copy it again, or make what is left a file of its own:"
                " ffmpeg -i IN rest.wav"
            ) from error

    def _frames(self, packet: Packet[AudioStream]) -> list[AudioFrame]:
        """Decode a packet; an empty one hands out what the decoder holds back at the end."""
        fate, frames = _Fate.SOUND, []
        try:
            frames = packet.decode()
        except MemoryError:
            raise
        except av.error.FFmpegError:
            fate = _Fate.SKIPPED
            self._skipped.append(self._time(packet))
        if any(frame.is_corrupt for frame in frames):
            fate = _Fate.DOUBTFUL
            self._doubtful.append(self._time(packet))
        if packet.size:
            self._start = self._start or bytes(packet)[:2]
            self._last, self._fate = packet, fate
        return frames

    def _follow(self, frame: AudioFrame) -> None:
        """Keep account of time. Two timestamps in a row that are ahead of it make a gap."""
        length = frame.samples / frame.rate
        stamp = frame.time if self._format in _TIMED else None
        if stamp is not None:
            if self._expected is None:
                self._expected = 0.0 if self._format == "flac" else stamp
            if stamp < self._expected - _RESTART:
                self._expected = stamp
            lead = stamp - self._expected
            if lead <= _JITTER:
                self._lead = None
                self._expected = max(stamp, self._expected)
            elif self._lead is None:
                self._lead = self._begin + self._seconds, lead
            else:
                place, first = self._lead
                self._lead = None
                self._close(place, min(first, lead))
        if self._expected is not None:
            self._expected += length
        self._seconds += length

    def _close(self, place: float, gap: float) -> None:
        assert self._expected is not None
        self._expected += gap
        self._seconds += gap
        # behind a packet that was left out it is said already
        if not self._skipped or abs(place - self._skipped[-1]) > _RESTART:
            self._gaps.append((place, gap))

    def _time(self, packet: Packet[AudioStream]) -> float:
        """Return when a packet would be heard."""
        stamp = 0.0
        if packet.pts is not None and packet.time_base is not None:
            stamp = float((packet.pts - (self._stream.start_time or 0)) * packet.time_base)
        return self._begin + max(self._seconds, stamp)

    def _looks_cut(self) -> bool:
        """Whether the last packet lacks its end. Junk behind the sound begins otherwise."""
        if self._last is None:
            return False
        content = bytes(self._last)
        if content[:2] != self._start:
            return self._last.is_corrupt and self._fate is not _Fate.SOUND
        framed = self._format in ("mp3", "aac")
        return self._fate is not _Fate.SOUND or (framed and len(content) < frame_size(content))


class _Fate(enum.Enum):
    """What became of a packet."""

    SOUND = enum.auto()
    DOUBTFUL = enum.auto()
    """Decoded, and the decoder says that it was damaged."""
    SKIPPED = enum.auto()


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


def _slack(stated: float) -> float:
    """How far a stated duration, in seconds, may be off before it is called wrong."""
    return max(_SLACK, _SLACK_SHARE * stated)


def _listed(places: Sequence[str]) -> str:
    """Return the first few places, and how many more there are."""
    more = len(places) - _LISTED
    return ", ".join(places[:_LISTED]) + (f" and {more} more" if more > 0 else "")
