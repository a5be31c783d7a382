"""When words sound, as manifests say it: in the forms that tools for speech recognition write.

- ``words``: ``[{"word": "hello", "start": 0.1, "end": 0.4}, ...]``: WhisperX (``word_segments``),
  openai-whisper, faster-whisper, NeMo, Deepgram; ``text`` for ``word`` is taken, too;
- ``segments``: ``[{"words": [...]}, ...]``: whole outputs of openai-whisper and WhisperX;
- ``chunks``: ``[{"text": "hello", "timestamp": [0.1, 0.4]}, ...]``: transformers' pipeline with
  ``return_timestamps="word"``.

Times are seconds from the beginning of the audio file, whichever part of it the line is of. Words
without times, which WhisperX writes of what it cannot align, are passed over.
"""

from __future__ import annotations

import difflib
import json
import math
import re
import reprlib
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from calibrate.estimation.heads.spoken import Word
from calibrate.estimation.samples.manifests import Entry
from headrouter_core.errors import UsageError


def words_of(entry: Entry) -> tuple[Word, ...]:
    """Return the words of a manifest's line, at their places in its answer; none where it has none.

    Words that are not in the answer, or in another order, are passed over.

    Raises:
        UsageError: naming file and line: of another form; times that are none, or run backwards; or
            no word at all is one of the answer's.
    """
    found = list(_listed(entry))
    if not found:
        return ()
    said = [_plain(text) for text, _, _ in found]
    wanted = [(match.start(), _plain(match[0])) for match in re.finditer(r"\S+", entry.answer)]
    matcher = difflib.SequenceMatcher(None, said, [text for _, text in wanted], autojunk=False)
    words = [
        Word(wanted[block.b + i][0], *found[block.a + i][1:])
        for block in matcher.get_matching_blocks()
        for i in range(block.size)
        if said[block.a + i]
    ]
    if not words:
        _refuse(
            entry,
            f"none of the words with times ({', '.join(said[:5])}, …) is one of the answer"
            f" {entry.answer[:60]!r}; the answer has to be what they are the words of",
        )
    return tuple(words)


def _listed(entry: Entry) -> Iterator[tuple[str, float, float]]:
    """Yield text, start and end of each word that has times, in seconds of the recording."""
    before = 0.0
    for word in _raw(entry):
        text = word.get("word", word.get("text"))
        if not isinstance(text, str):
            _refuse(entry, f"{reprlib.repr(word)} is no word; it needs a text in 'word'")
        times = word.get("timestamp", (word.get("start"), word.get("end")))
        if not isinstance(times, list | tuple) or len(times) != 2:
            _refuse(entry, f"timestamp of {text!r} is {reprlib.repr(times)}; give [start, end]")
        if None in times:
            continue
        start, end = (_seconds(entry, text, time) for time in times)
        if not before <= start <= end:
            _refuse(
                entry,
                f"{text!r} sounds from {start:g} to {end:g} s, behind a word that begins at"
                f" {before:g} s; give words in the order they sound, each with its start first",
            )
        before = start
        inside = entry.duration is None or end <= entry.offset + entry.duration + 0.05
        if start < entry.offset - 0.05 or not inside:
            continue  # of another part of the file
        yield text, max(0.0, start - entry.offset), end - entry.offset


def _raw(entry: Entry) -> list[Mapping[str, Any]]:
    """Return the words as they stand, from whichever field has them."""
    given = {name: value for name, value in entry.timed.items() if value}
    if len(given) > 1:
        _refuse(entry, f"times stand in {' and in '.join(given)}; leave one of them")
    for name, value in given.items():
        if isinstance(value, str):  # as CSV has it
            try:
                value = json.loads(value)
            except (ValueError, RecursionError) as error:
                _refuse(entry, f"{name} is no JSON: {reprlib.repr(value)}", error)
        rows = _rows(entry, name, value)
        if name != "segments":
            return rows
        return [word for row in rows for word in _rows(entry, "words", row.get("words") or [])]
    return []


def _rows(entry: Entry, name: str, value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        _refuse(
            entry,
            f"{name} is {reprlib.repr(value)}; give a list such as"
            ' [{"word": "hello", "start": 0.1, "end": 0.4}]',
        )
    return value


def _plain(text: str) -> str:
    """Return letters and digits alone, case-folded: tools differ in marks and capitals."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).casefold())


def _seconds(entry: Entry, text: str, value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0:
        _refuse(entry, f"{text!r} has the time {reprlib.repr(value)}; give seconds from 0 on")
    return float(value)


def _refuse(entry: Entry, what: str, cause: Exception | None = None) -> NoReturn:
    raise UsageError(f"{entry.where}: {what}") from cause
