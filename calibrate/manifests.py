"""Manifests: JSONL files, and audio folders with ``metadata.csv`` or ``metadata.jsonl``."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrouter_core.errors import UsageError

GROUPS = ("semantic", "acoustic")
_AUDIO_KEYS = ("audio_filepath", "file_name")
_TEXT_KEYS = ("task", "group", "prompt", "answer")


@dataclass(frozen=True)
class Entry:
    """One line of a manifest: a recording, a question about it, and the reference answer."""

    where: str
    """File and line, for messages."""
    name: str
    """The audio file as the manifest names it."""
    path: Path
    """The audio file; whether it is there is for the caller to see."""
    task: str
    group: str
    prompt: str
    answer: str
    cluster: str
    """``speaker``, else ``source``, else the audio file."""
    fields: dict[str, Any] = field(compare=False, repr=False)
    """All that the line says."""

    @property
    def id(self) -> str:
        """Name of the entry: its audio file and a digest of prompt and answer."""
        text = self.prompt + chr(0) + self.answer
        return f"{self.name}#{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def read_manifest(path: Path) -> list[Entry]:
    """Read a JSONL manifest, or a folder with ``metadata.jsonl`` or ``metadata.csv``.

    Each entry has ``audio_filepath`` or ``file_name`` (relative to the manifest), ``task``,
    ``group`` (semantic or acoustic), ``prompt``, ``answer``, and optionally ``speaker`` or
    ``source``. Raises ``UsageError`` naming file and line for anything that is not so, for a file
    without entries, for two equal entries, and for a task in both groups.
    """
    file = _manifest_file(path)
    entries = [_entry(fields, where, file.parent) for where, fields in _lines(file)]
    if not entries:
        raise UsageError(f"{path}: the manifest has no entries")
    twice = _first_repeated(entry.id for entry in entries)
    if twice is not None:
        raise UsageError(f"{path}: two entries are {twice!r}; give each audio and prompt once")
    groups: dict[str, str] = {}
    for entry in entries:
        if groups.setdefault(entry.task, entry.group) != entry.group:
            raise UsageError(f"{path}: task {entry.task!r} is in both groups; name two tasks")
    return entries


def _manifest_file(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise UsageError(f"{path}: no such manifest or folder")
    for name in ("metadata.jsonl", "metadata.csv"):
        if (path / name).is_file():
            return path / name
    raise UsageError(f"{path}: the folder has neither metadata.jsonl nor metadata.csv")


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text (byte {error.start})") from error
    if path.suffix.lower() == ".csv":
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        try:
            for row in reader:
                yield f"{path}:{reader.line_num}", row
        except csv.Error as error:
            raise UsageError(f"{path}:{reader.line_num}: not CSV: {error}") from error
        return
    # not splitlines(), which also breaks at characters that JSON allows inside a text
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            raise UsageError(f"{path}:{number}: not JSON: {error}") from error
        if not isinstance(entry, dict):
            raise UsageError(f"{path}:{number}: expected a JSON object, got {line.strip()[:60]}")
        yield f"{path}:{number}", entry


def _entry(fields: dict[str, Any], where: str, folder: Path) -> Entry:
    name = next((fields[key] for key in _AUDIO_KEYS if fields.get(key)), None)
    if not isinstance(name, str):
        raise UsageError(f"{where}: needs a text in {' or '.join(_AUDIO_KEYS)}")
    for key in _TEXT_KEYS:
        if not isinstance(fields.get(key), str) or not fields[key].strip():
            raise UsageError(f"{where}: needs a text in {key!r}, got {fields.get(key)!r}")
    if fields["group"] not in GROUPS:
        raise UsageError(f"{where}: group is {fields['group']!r}; expected {' or '.join(GROUPS)}")
    return Entry(
        where=where,
        name=name,
        path=folder / name,
        **{key: fields[key] for key in _TEXT_KEYS},
        cluster=str(fields.get("speaker") or fields.get("source") or name),
        fields=fields,
    )


def _first_repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
