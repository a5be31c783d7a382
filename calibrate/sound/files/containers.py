"""Where a file says that it ends: sizes in the headers of containers, read without decoding.

Decoders hand over what they find of a file that was cut, and say nothing; what its header promises
tells. Sizes that writers to pipes leave open are told apart from sizes that are not kept.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import BinaryIO

#: 32-bit sizes from here on are placeholders of writers that could not seek back (pipes).
_UNKNOWN = 0x7FFF0000


@dataclass(frozen=True)
class _Layout:
    """How a container writes its chunks."""

    start: int
    """Where the first one begins."""
    head: struct.Struct
    """Of a chunk: its name, its size."""
    sound: bytes
    """Name of the chunk that holds the sound."""
    counted: bool = False
    """The size counts the chunk's head too."""
    align: int = 1
    unknown: int = _UNKNOWN


def _guid(text: str) -> bytes:
    return bytes.fromhex(text)


_RIFF = _Layout(12, struct.Struct("<4sI"), b"data", align=2)
_W64 = _Layout(
    40, struct.Struct("<16sQ"), _guid("64617461f3acd3118cd100c04f8edb8a"), True, 8, 1 << 62
)
#: Codes of samples that are stored one by one: integers, floats, A-law, mu-law, extensible.
_PLAIN = (1, 3, 6, 7, 0xFFFE)
_ASF = _Layout(0, struct.Struct("<16sQ"), _guid("3626b2758e66cf11a6d900aa0062ce6c"), True)
#: First bytes -> layout.
_CHUNKED = {
    b"RIFF": _RIFF,
    b"RIFX": _Layout(12, struct.Struct(">4sI"), b"data", align=2),
    b"RF64": _RIFF,
    b"BW64": _RIFF,
    b"FORM": _Layout(12, struct.Struct(">4sI"), b"SSND", align=2),
    b"caff": _Layout(8, struct.Struct(">4sQ"), b"data", unknown=1 << 62),
    _guid("726966662e91cf11a5d628db04c10000"): _W64,
    _guid("3026b2758e66cf11a6d900aa0062ce6c"): _ASF,
}


def promised_size(file: BinaryIO) -> int | None:
    """Return how many bytes a file must have to hold all its sound.

    ``None`` where its container does not say, or is none that is known here.
    """
    file.seek(0)
    head = file.read(16)
    for magic, layout in _CHUNKED.items():
        if head.startswith(magic):
            return _chunked(file, layout)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return _boxes(file)
    if head.startswith(b"\x1aE\xdf\xa3"):
        return _segment(file)
    return _xing(file)


def _chunked(file: BinaryIO, layout: _Layout) -> int | None:
    """Return the end of the chunk with the sound; in an AVI, of the list that holds it."""
    at, long_size, end = layout.start, 0, file.seek(0, io.SEEK_END)
    while at < end:
        file.seek(at)
        head = file.read(layout.head.size)
        if len(head) < layout.head.size:
            return None
        name: bytes
        size: int
        name, size = layout.head.unpack(head)
        content = size - layout.head.size * layout.counted
        if name == b"ds64":
            long_size = int.from_bytes(file.read(16)[8:], "little")
        movie = name == b"LIST" and file.read(4) == b"movi"
        if name == layout.sound or movie:
            if size == 0xFFFFFFFF and long_size:
                return at + layout.head.size + long_size
            open_ended = content <= 0 or size >= layout.unknown
            return None if open_ended else at + layout.head.size + content
        if content < 0:
            return None
        at += layout.head.size + content
        at += -at % layout.align
    return None


def contradictions(file: BinaryIO) -> list[str]:
    """Return in which ways the header of a WAV file cannot be right."""
    file.seek(0)
    if file.read(4) not in (b"RIFF", b"RF64", b"BW64"):
        return []
    found = []
    size, sound_end = file.seek(0, io.SEEK_END), 0
    at = _RIFF.start
    while at + _RIFF.head.size <= size:
        file.seek(at)
        name, length = _RIFF.head.unpack(file.read(_RIFF.head.size))
        end = at + _RIFF.head.size + length
        if sound_end and (end > size or not name.isascii()):
            found.append(
                f"its header ends the sound at {sound_end} bytes, and {size - at} bytes of another"
                " kind follow, which are not used"
            )
        if end > size:
            break
        if name == b"fmt " and length >= 16:
            code, channels, rate, speed, block, bits = struct.unpack("<HHIIHH", file.read(16))
            if code in _PLAIN and speed != rate * block:
                found.append(
                    f"its header contradicts itself: {rate} samples a second, of {block} bytes"
                    f" each, would be {rate * block} bytes a second, and it states {speed}"
                )
            if code in _PLAIN and bits and block != (needed := channels * -(-bits // 8)):
                found.append(
                    f"its header contradicts itself: {channels} samples of {bits} bits take"
                    f" {needed} bytes, and it states {block}"
                )
        if name == b"data" and not length:  # a placeholder
            break
        if name == b"data":
            sound_end = end
        at = end + end % _RIFF.align
    return found


def _boxes(file: BinaryIO) -> int | None:
    """Return the end of the last box of an MP4 file that is needed to hear it."""
    at, end, length = 0, None, file.seek(0, io.SEEK_END)
    while at < length:
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            return end
        size, name = struct.unpack(">I4s", head[:8])
        if size == 1 and len(head) == 16:
            size = int.from_bytes(head[8:], "big")
        if size < 8:  # 0: up to the end of the file
            return end
        at += size
        if name in (b"moov", b"mdat", b"moof"):
            end = at
    return end


def _segment(file: BinaryIO) -> int | None:
    """Return the end of the first segment of a Matroska or WebM file."""
    file.seek(4)
    header = _vint(file)
    if header is None:
        return None
    file.seek(header, 1)
    if file.read(4) != b"\x18S\x80g":
        return None
    size = _vint(file)
    return None if size is None else file.tell() + size


def _vint(file: BinaryIO) -> int | None:
    """Read a number of EBML; ``None``: unknown (all its bits are ones)."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (0x7F >> more)]) + file.read(more), "big")
    return None if value == (1 << 7 * (more + 1)) - 1 else value


def _xing(file: BinaryIO) -> int | None:
    """Return the end of an MP3 stream by its Xing or VBRI header; ``None``: more follows it."""
    start = _behind_id3(file)
    file.seek(start)
    frame = file.read(256)
    if frame[:1] != b"\xff":
        return None
    size = 0
    found = [at for name in (b"Xing", b"Info") if (at := frame.find(name, 0, 64)) > 0]
    if frame[36:40] == b"VBRI":
        size = int.from_bytes(frame[46:50], "big")
    elif found:
        flags = int.from_bytes(frame[found[0] + 4 : found[0] + 8], "big")
        place = found[0] + (12 if flags & 1 else 8)  # behind the number of frames
        size = int.from_bytes(frame[place : place + 4], "big") if flags & 2 else 0
    end = start + size
    return end if size and end >= file.seek(0, io.SEEK_END) else None


def _behind_id3(file: BinaryIO) -> int:
    """Return where the sound begins: behind tags of the ID3v2 kind."""
    at = 0
    while True:
        file.seek(at)
        head = file.read(10)
        if len(head) < 10 or head[:3] != b"ID3":
            return at
        size = 0
        for byte in head[6:]:
            size = size << 7 | byte & 0x7F
        at += 10 + size + (10 if head[5] & 0x10 else 0)


#: Bit rates of MPEG audio in kbit/s by their index: MPEG-1 layers 2 and 3, the lower rates' both.
_BIT_RATES = {
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 0),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
}
_MPEG_RATES = (44_100, 48_000, 32_000)


def frame_size(frame: bytes) -> int:
    """Return how long a frame of MPEG audio, layer 2 or 3, or of ADTS says that it is; 0: not."""
    if len(frame) < 7:
        return len(frame) + 1
    if frame[1] & 6 == 0:  # ADTS
        return (frame[3] & 3) << 11 | frame[4] << 3 | frame[5] >> 5
    version, layer, rate = frame[1] >> 3 & 3, 4 - (frame[1] >> 1 & 3), frame[2] >> 2 & 3
    if version == 1 or layer not in (2, 3) or rate == 3:
        return 0
    first = version == 3
    hertz = _MPEG_RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    kilobits = _BIT_RATES[first, layer][frame[2] >> 4]
    slots = 144 if first or layer == 2 else 72
    return slots * kilobits * 1000 // hertz + (frame[2] >> 1 & 1)
