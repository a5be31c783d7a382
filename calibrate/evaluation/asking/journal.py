"""The journal of a running evaluation: what is done is on disk, and is not done again.

A file of JSON lines: a header that says which evaluation this is, then one line an item, each
flushed to the disk. What a kill left of a last line is cut off. Each line ends with a checksum of
its own; journals of earlier versions, whose headers have none, are read without.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from headrouter_core.errors import HeadRouterError, UsageError

#: The last key of every line, and hexadecimal digits of what it holds.
_CHECKSUM, _DIGITS = "checksum", 16


class Journal:
    """Lines by item; of those that were written twice, the later."""

    def __init__(self, path: Path, lines: dict[str, dict[str, Any]], descriptor: int) -> None:
        self.path = path
        self.lines = lines
        """Item id -> what was written of it, as it is read back."""
        self._descriptor = descriptor

    def write(self, line: dict[str, Any]) -> None:
        """Append the line of an item, which has an ``id``.

        Raises:
            HeadRouterError: the system refuses to write, as where the disk is full.
        """
        _append(self.path, self._descriptor, _encoded(line))
        self.lines[line["id"]] = _read_back(line)


@contextmanager
def opened(path: Path, header: dict[str, Any], *, anew: bool = False) -> Iterator[Journal]:
    """Begin the journal of an evaluation, or go on with it.

    Args:
        path: the file.
        header: what makes this evaluation this one, JSON-ready.
        anew: where the file is the journal of another evaluation, replace it.

    Raises:
        UsageError: the file is the journal of another evaluation, or none at all, or another
            process is writing it.
        HeadRouterError: the system refuses to write.
    """
    with _alone(path):
        lines: dict[str, dict[str, Any]] = {}
        whole = 0
        if path.exists():
            try:
                lines, whole = _read(path, header)
            except UsageError:
                if not anew:
                    raise
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.ftruncate(descriptor, whole)
            if not whole:
                _append(path, descriptor, _encoded(header))
            yield Journal(path, lines, descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes away; the system does that, so a kill leaves nothing locked."""
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UsageError(
            f"{path} is being written by another process; wait for it, or share the work: --shard"
        ) from error
    try:
        yield
    finally:
        lock.release()


def lines_of(path: Path, header: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what a journal holds, by item, without going on with it.

    Raises:
        UsageError: the file is the journal of another evaluation, or none at all.
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
    """Return the lines of this evaluation that end, and how many bytes they and the header are."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if not whole and not _encoded(header).startswith(content):
        raise UsageError(f"{path} is not the journal of an evaluation; give another --output")
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


def _damaged(path: Path, number: int, cause: object) -> UsageError:
    if number == 1:
        return UsageError(
            f"{path} is not the journal of an evaluation, or damaged in its first line: {cause};"
            " give another --output, or start anew with --force"
        )
    return UsageError(
        f"{path}:{number} is damaged: {cause}; remove the line, and its item is asked again"
    )


def _check_header(path: Path, found: Any, header: dict[str, Any]) -> None:
    """Refuse to mix results: every difference would be one between samples too."""
    if not isinstance(found, dict):
        raise UsageError(f"{path} is not the journal of an evaluation; give another --output")
    differing = sorted(
        key for key in found.keys() | header.keys() if found.get(key) != header.get(key)
    )
    if differing:
        key = differing[0]
        was, now = _apart(found.get(key), header.get(key))
        raise UsageError(
            f"{path} was begun with another {', '.join(differing)} ({key}: {was!r}, now {now!r}); "
            "give another --output, or start anew with --force"
        )


def _apart(was: Any, now: Any) -> tuple[Any, Any]:
    """Of two dictionaries return what differs; a list of all methods would hide the one."""
    if not (isinstance(was, dict) and isinstance(now, dict)):
        return was, now
    keys = [key for key in was | now if key not in was or key not in now or was[key] != now[key]]
    old, new = ({key: side[key] for key in keys if key in side} for side in (was, now))
    return old, new
