"""The journal of a long command: what is done is on disk, and is not done again.

A file of JSON lines: a header that says which run this is, then one line an item, each flushed to
the disk. The file gets its name with the header in it, and the name is flushed too. What a kill
left of a last line, or a power cut, behind which blocks may be zeros, is cut off. Each line ends
with a checksum of its own; journals of earlier versions, whose headers have none, are read without.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from headrouter_core.basics import writing
from headrouter_core.errors import HeadRouterError, UsageError

#: The last key of every line, and hexadecimal digits of what it holds.
_CHECKSUM, _DIGITS = "checksum", 16
#: How many of a setting's parts that differ are told.
_TOLD = 3


class Journal:
    """Lines by item; of those that were written twice, the later. In memory alone unless opened."""

    def __init__(
        self,
        path: Path | None = None,
        lines: dict[str, dict[str, Any]] | None = None,
        descriptor: int = -1,
    ) -> None:
        self.path = path
        self.lines = {} if lines is None else lines
        """Item id -> what was written of it, as it is read back."""
        self.before = frozenset(self.lines)
        """Ids of those that were there when it was opened."""
        self.over = False
        """Set where nobody needs it any more: it is removed when it is closed."""
        self._descriptor = descriptor

    def write(self, line: dict[str, Any]) -> None:
        """Append the line of an item, which has an ``id``.

        Raises:
            HeadRouterError: the system refuses to write, as where the disk is full.
        """
        if self.path is not None:
            _append(self.path, self._descriptor, _encoded(line))
        self.lines[line["id"]] = _read_back(line)


@contextmanager
def opened(path: Path, header: dict[str, Any], *, anew: bool = False) -> Iterator[Journal]:
    """Begin the journal of a run, or go on with it.

    Args:
        path: the file.
        header: what makes this run this one, JSON-ready.
        anew: where the file is the journal of another run, replace it.

    Raises:
        UsageError: the file is the journal of another run, or none at all, or another process is
            writing it.
        HeadRouterError: the system refuses to write.
    """
    with _alone(path):
        lines, whole = _begun(path, header, anew=anew)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        journal = Journal(path, lines, descriptor)
        try:
            os.ftruncate(descriptor, whole)
            yield journal
        finally:
            os.close(descriptor)
            if journal.over:
                path.unlink(missing_ok=True)
                writing.sync_folder(path.parent)


def _begun(
    path: Path, header: dict[str, Any], *, anew: bool
) -> tuple[dict[str, dict[str, Any]], int]:
    """Return what a journal holds and how many bytes of it count; where there is none, begin it."""
    try:
        if path.exists():
            return _read(path, header)
    except UsageError:
        if not anew:
            raise
    first = _encoded(header)
    writing.write(path, first, force=True)
    return {}, len(first)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes away; the system does that, so a kill leaves nothing locked."""
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UsageError(
            f"{path} is being written by another process; wait for it, or give another --output"
        ) from error
    try:
        yield
    finally:
        if not path.exists():  # nothing is left to guard
            with contextlib.suppress(PermissionError):  # Windows removes no open file
                Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def lines_of(path: Path, header: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what a journal holds, by item, without going on with it.

    Raises:
        UsageError: the file is the journal of another run, or none at all.
    """
    return _read(path, header)[0]


def _plain(line: dict[str, Any]) -> bytes:
    text = json.dumps(line, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # halves of characters, which names that are not UTF-8 have, become escapes that JSON knows
    return text.encode("utf-8", "backslashreplace")


def _encoded(line: dict[str, Any]) -> bytes:
    """Return a line as it is written: the last key is the checksum of the others."""
    plain = _plain(line)
    return plain[:-1] + b',"%s":"%s"}\n' % (_CHECKSUM.encode(), _checksum(plain))


def _read_back(line: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_plain(line))
    return found


def _checksum(plain: bytes) -> bytes:
    return hashlib.sha256(plain).hexdigest()[:_DIGITS].encode()


def _decoded(line: bytes) -> tuple[Any, bool]:
    """Return what a line says, and whether it has a checksum.

    Raises:
        ValueError: it is no JSON, or not what was written.
    """
    found = json.loads(line)
    if not isinstance(found, dict) or _CHECKSUM not in found:
        return found, False
    del found[_CHECKSUM]
    tail = len(b',"%s":""}' % _CHECKSUM.encode()) + _DIGITS
    plain = line[:-tail] + b"}"
    if line + b"\n" != plain[:-1] + b',"%s":"%s"}\n' % (_CHECKSUM.encode(), _checksum(plain)):
        raise ValueError("it does not match its checksum")
    return found, True


def _append(path: Path, descriptor: int, content: bytes) -> None:
    """Write all of ``content`` and flush it; what a full disk leaves of it is taken back."""
    before = os.fstat(descriptor).st_size
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    except OSError as error:
        os.ftruncate(descriptor, before)
        raise HeadRouterError(f"cannot write {path}: {error.strerror or error}") from error


def _read(path: Path, header: dict[str, Any]) -> tuple[dict[str, dict[str, Any]], int]:
    """Return the lines of this run that are whole, and how many bytes they and the header are."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    last = content.rfind(b"\n", 0, whole - 1) + 1
    if b"\0" in content[last:whole]:  # JSON has none: blocks that did not reach the disk
        whole = last
    if not whole:
        raise _foreign(path)
    found: dict[str, dict[str, Any]] = {}
    checked = False
    for number, line in enumerate(content[:whole].split(b"\n")[:-1], 1):
        try:
            entry, summed = _decoded(line)
        except (ValueError, RecursionError) as error:
            raise _damaged(path, number, error) from error
        if number == 1:
            checked = summed
            _check_header(path, entry, _read_back(header))
        elif checked and not summed:
            raise _damaged(path, number, "it lacks its checksum")
        elif not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
            raise _damaged(path, number, "it is of no item")
        else:
            found[entry["id"]] = entry
    return found, whole


def _foreign(path: Path) -> UsageError:
    return UsageError(f"{path} is not the journal of a run of this command; give another --output")


def _damaged(path: Path, number: int, cause: object) -> UsageError:
    if number == 1:
        return UsageError(
            f"{path} is not the journal of a run of this command, or damaged in its first line:"
            f" {cause}; give another --output, or start anew with --force"
        )
    return UsageError(
        f"{path}:{number} is damaged: {cause}; remove the line, and its item is asked again"
    )


def _check_header(path: Path, found: Any, header: dict[str, Any]) -> None:
    """Refuse to mix results: every difference would be one between samples too."""
    if not isinstance(found, dict):
        raise _foreign(path)
    differing = sorted(
        key for key in found.keys() | header.keys() if found.get(key) != header.get(key)
    )
    if differing:
        key = differing[0]
        was, now, more = _apart(found.get(key), header.get(key))
        raise UsageError(
            f"{path} was begun with another {', '.join(differing)} ({key}: {was!r}, now {now!r}"
            f"{more}); give another --output, or start anew with --force"
        )


def _apart(was: Any, now: Any) -> tuple[Any, Any, str]:
    """Of two dictionaries return what differs first, and how much more does.

    A list of all methods, or samples, would hide the one.
    """
    if not (isinstance(was, dict) and isinstance(now, dict)):
        return was, now, ""
    keys = [key for key in was | now if key not in was or key not in now or was[key] != now[key]]
    first, rest = keys[:_TOLD], len(keys) - _TOLD
    old, new = ({key: side[key] for key in first if key in side} for side in (was, now))
    return old, new, f", and {rest} more" if rest > 0 else ""
