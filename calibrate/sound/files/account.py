"""What is noted of a stream of sound while it is decoded: time, damage, gaps, how it ends."""

from __future__ import annotations

import enum
from collections.abc import Sequence

from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from calibrate.sound.files.containers import frame_size
from calibrate.terminal.errors import AudioError

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


class Fate(enum.Enum):
    """What became of a packet."""

    SOUND = enum.auto()
    DOUBTFUL = enum.auto()
    """Decoded, and the decoder says that it was damaged."""
    SKIPPED = enum.auto()


class Account:
    """What was found out about the sound of one container.

    Args:
        container: it.
        stream: the one that is decoded.
        name: for messages.
        begin: seconds of sound before this one, where it is part of a chain.
    """

    def __init__(
        self, container: InputContainer, stream: AudioStream, name: str, begin: float
    ) -> None:
        self._container = container
        self._stream = stream
        self._name = name
        self._begin = begin
        self.seconds = 0.0
        """Decoded so far, with gaps."""
        self.skipped: list[float] = []
        """When packets would be heard that could not be decoded."""
        self.intruded = False
        """A stream turned up that the beginning of the file does not announce."""
        self._expected: float | None = None
        """The timestamp at which the next frame should begin."""
        self._lead: tuple[float, float] | None = None
        """When a timestamp was ahead of that, and by how much."""
        self._start = b""
        """How the first packet begins."""
        self._last: Packet[AudioStream] | None = None
        self._fate = Fate.SOUND
        """What became of the last packet."""
        self._doubtful: list[float] = []
        self._gaps: list[tuple[float, float]] = []

    @property
    def stated(self) -> float | None:
        """Seconds of sound that the header states, where it does."""
        if self.format not in _STATED:
            return None
        if self._stream.duration is not None and self._stream.time_base is not None:
            return float(self._stream.duration * self._stream.time_base)
        if self._container.duration is None or len(self._container.streams) > 1:
            return None  # another stream may be longer
        return self._container.duration / 1e6

    @property
    def format(self) -> str:
        """FFmpeg's first name of the container's format."""
        return self._container.format.name.partition(",")[0]

    def note(self, packet: Packet[AudioStream], fate: Fate) -> None:
        """Take note of what became of a packet; an empty one only ends the stream."""
        if fate is Fate.SKIPPED:
            self.skipped.append(self._time(packet))
        elif fate is Fate.DOUBTFUL:
            self._doubtful.append(self._time(packet))
        if packet.size:
            self._start = self._start or bytes(packet)[:2]
            self._last, self._fate = packet, fate

    def follow(self, frame: AudioFrame) -> None:
        """Keep account of time. Two timestamps in a row that are ahead of it make a gap."""
        length = frame.samples / frame.rate
        stamp = frame.time if self.format in _TIMED else None
        if stamp is not None:
            if self._expected is None:
                self._expected = 0.0 if self.format == "flac" else stamp
            if stamp < self._expected - _RESTART:
                self._expected = stamp
            lead = stamp - self._expected
            if lead <= _JITTER:
                self._lead = None
                self._expected = max(stamp, self._expected)
            elif self._lead is None:
                self._lead = self._begin + self.seconds, lead
            else:
                place, first = self._lead
                self._lead = None
                self._close(place, min(first, lead))
        if self._expected is not None:
            self._expected += length
        self.seconds += length

    def _close(self, place: float, gap: float) -> None:
        assert self._expected is not None
        self._expected += gap
        self.seconds += gap
        # behind a packet that was left out it is said already
        if not self.skipped or abs(place - self.skipped[-1]) > _RESTART:
            self._gaps.append((place, gap))

    def check_end(self, *, complete: bool) -> None:
        """Raise where the stream ends early.

        Args:
            complete: the container is known to have all its bytes.
        """
        stated, why = self.stated, None
        if stated is not None:
            exact = self.format in _EXACT
            allowed = 1.5 / self._stream.codec_context.sample_rate if exact else _slack(stated)
            if self.seconds < stated - allowed and (exact or not complete):
                why = f"its header states {stated:.2f} s"
        if not complete and self._looks_cut():
            why = "its last packet is not whole"
        if why is not None:
            raise AudioError(
                f"{self._name}: truncated: {why}, and it ends after {self.seconds:.2f} s; copy it"
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
        padded = complete and whole and self._fate is Fate.SKIPPED
        if skipped := self.skipped[: -1 if padded else None]:
            packets = "1 packet" if len(skipped) == 1 else f"{len(skipped)} packets"
            places = _listed([f"{place:.2f} s" for place in skipped])
            found.append(f"{packets} could not be decoded and left out, at {places}")
        if self._doubtful:
            places = _listed([f"{place:.2f} s" for place in self._doubtful])
            found.append(f"damaged sound was decoded, at {places}")
        if self.intruded:
            found.append("another stream begins in its midst, and was left out")
        if self._gaps:
            places = _listed([f"{length:.2f} s at {place:.2f} s" for place, length in self._gaps])
            found.append(f"sound is missing, and the gap was closed: {places}")
        stated = self.stated
        if whole and stated is not None and abs(stated - self.seconds) > _slack(stated):
            found.append(
                f"its header states {stated:.2f} s, and it holds {self.seconds:.2f} s, all of"
                " which is used"
            )
        return found

    def _time(self, packet: Packet[AudioStream]) -> float:
        """Return when a packet would be heard."""
        stamp = 0.0
        if packet.pts is not None and packet.time_base is not None:
            stamp = float((packet.pts - (self._stream.start_time or 0)) * packet.time_base)
        return self._begin + max(self.seconds, stamp)

    def _looks_cut(self) -> bool:
        """Whether the last packet lacks its end. Junk behind the sound begins otherwise."""
        if self._last is None:
            return False
        content = bytes(self._last)
        if content[:2] != self._start:
            return self._last.is_corrupt and self._fate is not Fate.SOUND
        framed = self.format in ("mp3", "aac")
        return self._fate is not Fate.SOUND or (framed and len(content) < frame_size(content))


def _slack(stated: float) -> float:
    """How far a stated duration, in seconds, may be off before it is called wrong."""
    return max(_SLACK, _SLACK_SHARE * stated)


def _listed(places: Sequence[str]) -> str:
    """Return the first few places, and how many more there are."""
    more = len(places) - _LISTED
    return ", ".join(places[:_LISTED]) + (f" and {more} more" if more > 0 else "")
