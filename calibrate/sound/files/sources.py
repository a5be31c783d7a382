"""Where a recording comes from: a local file, a pipe, or standard input; never an address."""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from calibrate.terminal.errors import AudioError, MissingAudioError

#: Standard input, as it is named on the command line; ``Path("-")`` is a file of that name.
STDIN = "-"

#: What a pipe may hand over in all, and how much of it is kept in memory instead of on disk.
_MOST_BYTES, _IN_MEMORY = 1 << 30, 1 << 24
_CHUNK = 1 << 20
#: An address; a path has lost the second slash. Drives of Windows have one letter.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")


@dataclass(frozen=True, eq=False)
class Source:
    """An open recording that can be read from anywhere, and more than once."""

    name: str
    """For messages."""
    suffix: str
    """Ending of its name, ``.mp3``: tells what a file without a header is. May be empty."""
    file: BinaryIO

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.file.seek(0, io.SEEK_END)


@contextlib.contextmanager
def opened(given: str | os.PathLike[str] | Source) -> Iterator[Source]:
    """Open a recording; what comes through a pipe is kept in a temporary file without a name.

    Raises:
        MissingAudioError: there is no such file, or it is no file.
        AudioError: it cannot be read, is empty, or a pipe hands over too much.
    """
    if isinstance(given, Source):
        yield given
        return
    path = Path(given)
    with contextlib.ExitStack() as stack:
        with reading(str(path)):
            file = _stdin(stack) if given == STDIN else _open(path, stack)
            suffix = path.suffix if _SUFFIX.fullmatch(path.suffix) else ""
            source = Source(str(path), suffix, file)
            size = source.size
        if not size:
            raise AudioError(f"{path}: the file is empty (0 bytes); record or copy it again")
        yield source


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Name the recording where the system refuses to read on.

    Raises:
        AudioError: it does.
    """
    try:
        yield
    except OSError as error:
        raise AudioError(f"{name}: cannot be read: {error.strerror or error}") from error


def _stdin(stack: contextlib.ExitStack) -> BinaryIO:
    if sys.stdin is None or sys.stdin.isatty():
        raise MissingAudioError("-: standard input is a terminal; pipe a recording into it")
    return stack.enter_context(_kept(sys.stdin.buffer, STDIN))


def _open(path: Path, stack: contextlib.ExitStack) -> BinaryIO:
    name = str(path)
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise MissingAudioError(f"{name} is a folder; give the path of an audio file")
        if not stat.S_ISREG(kind) and not stat.S_ISFIFO(kind):
            raise MissingAudioError(f"{name} is a device or socket, not a recording; give a file")
        file = stack.enter_context(path.open("rb"))
        return file if stat.S_ISREG(kind) else stack.enter_context(_kept(file, name))
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # a NUL: ValueError
        if _ADDRESS.match(name):
            raise MissingAudioError(
                f"{name} is an address; only local files are read: download it, or pipe it into -"
            ) from error
        raise MissingAudioError(f"{name}: no such audio file; check the path") from error


def _kept(pipe: BinaryIO, name: str) -> BinaryIO:
    """Keep all that comes through a pipe."""
    kept = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
    while chunk := pipe.read(_CHUNK):
        kept.write(chunk)
        if kept.tell() > _MOST_BYTES:
            kept.close()
            raise AudioError(
                f"{name}: more than {_MOST_BYTES >> 20} MiB came through the pipe; write it to a"
                " file, and give that"
            )
    return kept  # type: ignore[return-value]


class Span(io.RawIOBase):
    """Bytes ``start`` to ``end`` of a file, as a file of its own."""

    def __init__(self, file: BinaryIO, start: int, end: int, name: str) -> None:
        self.name = name
        self._file, self._start, self._end = file, start, end
        self._at = start

    def readable(self) -> bool:
        """Return ``True``."""
        return True

    def seekable(self) -> bool:
        """Return ``True``."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read into a buffer; return how many bytes came."""
        self._file.seek(self._at)
        content = self._file.read(max(0, min(len(buffer), self._end - self._at)))
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, also behind the end; return the new place."""
        base = {io.SEEK_SET: self._start, io.SEEK_CUR: self._at, io.SEEK_END: self._end}
        at = base[whence] + offset
        if at < self._start:
            raise OSError("a place before the beginning")
        self._at = at
        return at - self._start

    def tell(self) -> int:
        """Return the place."""
        return self._at - self._start
