"""Pages of Ogg streams (RFC 3533): whether the last one is there, and where chained ones join."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

MAGIC = b"OggS"
_HEAD = struct.Struct("<4sBBqIIIB")
_FIRST, _LAST = 2, 4
_LONGEST = 65_307
#: Bytes of the first packet that tell how a stream is to be decoded, by its beginning: the rest
#: (serial numbers, bit rates, delays, lengths) may differ between streams that a decoder joins.
_FORMATS = {b"\x01vorbis": slice(0, 16), b"OpusHead": slice(0, 10), b"\x7fFLAC": slice(27, 30)}


@dataclass(frozen=True)
class _Page:
    start: int
    end: int
    flags: int
    content: bytes
    """Of pages that begin a stream."""


def is_ogg(file: BinaryIO) -> bool:
    """Return whether a file begins as an Ogg stream does."""
    file.seek(0)
    return file.read(4) == MAGIC


def parts(file: BinaryIO, size: int) -> tuple[list[tuple[int, int]], bool]:
    """Find the parts of an Ogg file that one decoder cannot read on from one to the next.

    Returns:
        begin and end of each in bytes, and whether the last page is whole and says that it is the
        last of its stream.
    """
    starts: list[int] = [0]
    link, format_, heads, ended, at_head = 0, b"", b"", False, False
    for page in _pages(file, size):
        first = bool(page.flags & _FIRST)
        if first and not at_head:  # a new link of the chain
            heads, link = b"", page.start
        if first:
            heads += page.content
        elif at_head:
            if format_ and heads != format_:
                starts.append(link)
            format_ = heads
        at_head = first
        ended = bool(page.flags & _LAST) and page.end <= size
    return list(zip(starts, [*starts[1:], size], strict=True)), ended


def _pages(file: BinaryIO, size: int) -> Iterator[_Page]:
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(_HEAD.size)
        if len(head) == _HEAD.size and head.startswith(MAGIC):
            *_, segments = _HEAD.unpack(head)
            sizes = file.read(segments)
            end = at + _HEAD.size + segments + sum(sizes)
            content = file.read(sum(sizes)) if head[5] & _FIRST else b""
            if len(sizes) == segments:
                yield _Page(at, end, head[5], _format(content))
                at = end
                continue
        # damaged, or junk between pages
        file.seek(at + 1)
        found = file.read(_LONGEST).find(MAGIC)
        at += 1 + (found if found >= 0 else _LONGEST - len(MAGIC))


def _format(content: bytes) -> bytes:
    for magic, part in _FORMATS.items():
        if content.startswith(magic):
            return magic + content[part]
    return content
