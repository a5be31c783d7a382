"""Annotation files of AudioMarathon: their shapes, and the options of a record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from calibrate.evaluation.datasets.reading import read_json
from headrouter_core.errors import UsageError

#: Keys under which some files keep their list.
_LIST_KEYS = ("tasks", "data", "samples")


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read a list of records, alone or under one of the known keys.

    Raises:
        UsageError: it is no JSON, or no such list.
    """
    data = read_json(path)
    if isinstance(data, dict):
        data = next((data[key] for key in _LIST_KEYS if key in data), None)
    if not isinstance(data, list) or not all(isinstance(record, dict) for record in data):
        raise UsageError(
            f"{path} is no list of records, alone or under {' or '.join(_LIST_KEYS)}; give the"
            " folder that the benchmark was unpacked to"
        )
    return data


def choices_of(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The options of a record: ``options``, ``choices`` by letter, or ``choice_a``, ``choice_b``, …

    Up to the first that is missing or no text, so that every letter stays with its text.
    """
    given, named = record.get("options"), record.get("choices")
    if isinstance(given, list):
        texts = given
    elif isinstance(named, dict):
        texts = [named.get(letter) for letter in ascii_uppercase]
    else:
        texts = [record.get(f"choice_{letter.lower()}") for letter in ascii_uppercase]
    choices: list[str] = []
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            break
        choices.append(text.strip())
    return tuple(choices)
