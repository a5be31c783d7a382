"""Manifests: JSONL files, and audio folders with ``metadata.csv`` or ``metadata.jsonl``."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from headrouter_core.errors import UsageError
from headrouter_core.profile.bundle import unique_keys

GROUPS = ("semantic", "acoustic")
_AUDIO_KEYS = ("audio_filepath", "file_name")
_TEXT_KEYS = ("task", "group", "prompt", "answer")
#: A number as CSV files have it; ``float`` takes more: "1_0", digits of other scripts.
_NUMBER = re.compile(r"\s*\+?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
#: Hexadecimal digits of an id's digest, and those where so few do not tell two entries apart.
_DIGITS, _MORE_DIGITS = 8, 32


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a manifest: a recording, a question about it, and the reference answer."""

    file: Path
    """The manifest."""
    line: int
    name: str
    """The audio file as the manifest names it."""
    task: str
    group: str
    prompt: str
    answer: str
    cluster: str
    """``speaker``, else ``source``, else the audio file."""
    offset: float = 0.0
    """Where in the audio file the recording begins, in seconds."""
    duration: float | None = None
    """How long it is, in seconds; ``None``: up to the end of the file."""
    scoring: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """What the line says of ``kind`` and ``choices``."""
    timed: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """What the line says of when words sound: ``words``, ``segments`` or ``chunks``."""
    digits: int = _DIGITS
    """Of the digest in the id."""

    @property
    def where(self) -> str:
        """File and line, for messages."""
        return f"{self.file}:{self.line}"

    @property
    def path(self) -> Path:
        """The audio file; whether it is there is for the caller to see."""
        return self.file.parent / self.name

    @property
    def id(self) -> str:
        """Name of the entry: its audio file and a digest of part, prompt and answer."""
        parts = [self.prompt, self.answer]
        if self.offset or self.duration is not None:
            parts += [repr(self.offset), repr(self.duration)]
        digest = hashlib.sha256(chr(0).join(parts).encode())
        return f"{self.name}#{digest.hexdigest()[: self.digits]}"


def read_manifest(path: Path) -> list[Entry]:
    """Read a JSONL manifest, or a folder with ``metadata.jsonl`` or ``metadata.csv``.

    Each entry has ``audio_filepath`` or ``file_name`` (relative to the manifest), ``task``,
    ``group`` (semantic or acoustic), ``prompt``, ``answer``, and optionally ``offset`` and
    ``duration`` (the part of the file, in seconds) and ``speaker`` or ``source`` (a text, number
    or truth value). Raises ``UsageError`` naming file and line for anything that is not so, for a
    file without entries, for two equal entries, and for a task in both groups.
    """
    file = _manifest_file(path)
    entries = [_entry(fields, file, line) for line, fields in _lines(file)]
    if not entries:
        raise UsageError(f"{path}: the manifest has no entries")
    groups: dict[str, Entry] = {}
    for entry in entries:
        first = groups.setdefault(entry.task, entry)
        if first.group != entry.group:
            raise UsageError(
                f"{entry.where}: task {entry.task!r} is in both groups ({first.group} in line"
                f" {first.line}); name two tasks"
            )
    return _told_apart(entries)


def _manifest_file(path: Path) -> Path:
    # not Path's own methods, which raise for names that no file can have
    if os.path.isfile(path):
        return path
    if not os.path.exists(path):
        raise UsageError(f"{path}: no such manifest or folder")
    if not os.path.isdir(path):
        raise UsageError(f"{path} is no regular file; save the manifest to one: it is read twice")
    for name in ("metadata.jsonl", "metadata.csv"):
        if (path / name).is_file():
            return path / name
    raise UsageError(f"{path}: the folder has neither metadata.jsonl nor metadata.csv")


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line number and fields of each entry."""
    return _csv_lines(path) if path.suffix.lower() == ".csv" else _json_lines(path)


def _csv_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    reader: csv.DictReader[Any] = csv.DictReader(_texts(path), strict=True)
    try:
        header = reader.fieldnames or []
        twice = [name for number, name in enumerate(header) if name in header[:number]]
        if twice:
            _refuse(path, 1, f"the column {twice[0]!r} stands twice")
        for row in reader:
            if row.pop(None, None) is not None:
                _refuse(path, reader.line_num, "more fields than columns")
            yield reader.line_num, row
    except csv.Error as error:
        _refuse(path, reader.line_num, f"not CSV: {error}", error)


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(_texts(path), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line, object_pairs_hook=unique_keys, parse_constant=_no_number)
            if "\\ud" in line.lower():
                json.dumps(entry, ensure_ascii=False).encode()  # halves of characters
        except (ValueError, RecursionError) as error:
            _refuse(path, number, f"not JSON: {error}", error)
        if not isinstance(entry, dict):
            _refuse(path, number, f"expected a JSON object, got {line.strip()[:60]}")
        yield number, entry


def _texts(path: Path) -> Iterator[str]:
    """Yield the lines of a file, ends included, broken at line feeds and nowhere else."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    text = line.decode("utf-8")
                except UnicodeDecodeError as error:
                    _refuse(path, number, f"not UTF-8 text (byte {error.start} of it)", error)
                yield text.removeprefix("\ufeff") if number == 1 else text
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _entry(fields: dict[str, Any], file: Path, line: int) -> Entry:
    name = next((fields[key] for key in _AUDIO_KEYS if fields.get(key)), None)
    if not isinstance(name, str):
        _refuse(file, line, f"needs a text in {' or '.join(_AUDIO_KEYS)}")
    for key in _TEXT_KEYS:
        if not isinstance(fields.get(key), str) or not fields[key].strip():
            _refuse(file, line, f"needs a text in {key!r}, got {fields.get(key)!r}")
    if fields["group"] not in GROUPS:
        _refuse(file, line, f"group is {fields['group']!r}; expected {' or '.join(GROUPS)}")
    offset = _seconds(fields, "offset", file, line)
    duration = _seconds(fields, "duration", file, line)
    if duration == 0:
        _refuse(file, line, "duration is 0; give seconds, more than 0")
    given = (_identity(fields.get(key), key, file, line) for key in ("speaker", "source"))
    # two spellings of a path are one file
    cluster = next((text for text in given if text), None) or os.path.normpath(name)
    return Entry(
        file=file,
        line=line,
        name=name,
        # a million questions have few different ones among these
        task=sys.intern(fields["task"]),
        group=sys.intern(fields["group"]),
        prompt=sys.intern(fields["prompt"]),
        answer=sys.intern(fields["answer"]),
        cluster=sys.intern(cluster),
        offset=offset or 0.0,
        duration=duration,
        scoring={key: fields[key] for key in ("kind", "choices") if fields.get(key)},
        timed={key: fields[key] for key in ("words", "segments", "chunks") if fields.get(key)},
    )


def _seconds(fields: dict[str, Any], key: str, file: Path, line: int) -> float | None:
    """Return a length or place in seconds; ``None`` where none is given."""
    value = fields.get(key)
    if value is None or value == "":
        return None
    plain = _NUMBER.fullmatch(value) if isinstance(value, str) else not isinstance(value, bool)
    try:
        seconds = float(value) if plain and not isinstance(value, list | dict) else math.nan
    except OverflowError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        _refuse(file, line, f"{key} is {str(value)[:60]!r}; give seconds from 0 on")
    return seconds


def _identity(value: Any, key: str, file: Path, line: int) -> str:
    """Return who speaks, or where it is from, as text; empty where nothing is given: 0 is not."""
    if value is None:
        return ""
    if isinstance(value, list | dict):
        _refuse(file, line, f"{key} is {str(value)[:60]!r}; give a text or a number")
    return str(value)


def _told_apart(entries: list[Entry]) -> list[Entry]:
    """Return the entries with longer ids where the short ones of two different ones are equal.

    Raises:
        UsageError: two entries are equal.
    """
    first: dict[str, int] = {}
    longer: dict[int, Entry] = {}
    for index, entry in enumerate(entries):
        other = first.setdefault(entry.id, index)
        if other != index:
            longer |= {at: replace(entries[at], digits=_MORE_DIGITS) for at in (other, index)}
    seen: dict[str, Entry] = {}
    for entry in longer.values():
        other_entry = seen.setdefault(entry.id, entry)
        if other_entry is not entry:
            raise UsageError(
                f"{entry.where}: the same entry as in line {other_entry.line}; give each audio"
                " and prompt once (two entries are equal)"
            )
    return [longer.get(index, entry) for index, entry in enumerate(entries)]


def _refuse(file: Path, line: int, what: str, cause: Exception | None = None) -> NoReturn:
    raise UsageError(f"{file}:{line}: {what}") from cause
