"""The journal of a running evaluation: what is done is on disk, and is not done again.

A file of JSON lines: a header that says which evaluation this is, then one line an item, each
written in one step and flushed to the disk. What a kill left of a last line is cut off.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headrouter_core.errors import UsageError


class Journal:
    """Lines by item, in the order they were written."""

    def __init__(self, path: Path, lines: dict[str, dict[str, Any]], descriptor: int) -> None:
        self.path = path
        self.lines = lines
        """Item id -> what was written of it."""
        self._descriptor = descriptor

    def write(self, line: dict[str, Any]) -> None:
        """Append the line of an item, which has an ``id``."""
        os.write(self._descriptor, _encoded(line))
        os.fsync(self._descriptor)
        self.lines[line["id"]] = line


@contextmanager
def opened(path: Path, header: dict[str, Any]) -> Iterator[Journal]:
    """Begin the journal of an evaluation, or go on with it.

    Raises:
        UsageError: the file is the journal of another evaluation, or none at all.
    """
    lines: dict[str, dict[str, Any]] = {}
    whole = 0
    if path.exists():
        found, whole = _whole_lines(path)
        if found:
            _check_header(path, found[0], json.loads(json.dumps(header)))
            lines = {line["id"]: line for line in found[1:]}
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.ftruncate(descriptor, whole)
        if not whole:
            os.write(descriptor, _encoded(header))
        yield Journal(path, lines, descriptor)
    finally:
        os.close(descriptor)


def _encoded(line: dict[str, Any]) -> bytes:
    return (json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _whole_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the lines that end, and how many bytes they are."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    try:
        return [json.loads(line) for line in content[:whole].splitlines()], whole
    except ValueError as error:
        raise UsageError(f"{path} is not the journal of an evaluation: {error}") from error


def _check_header(path: Path, found: dict[str, Any], header: dict[str, Any]) -> None:
    """Refuse to mix results: every difference would be one between samples too."""
    differing = sorted(
        key for key in found.keys() | header.keys() if found.get(key) != header.get(key)
    )
    if differing:
        key = differing[0]
        raise UsageError(
            f"{path} was begun with another {', '.join(differing)} ({key}: {found.get(key)!r}, now "
            f"{header.get(key)!r}); give another --output, or start anew with --force"
        )
