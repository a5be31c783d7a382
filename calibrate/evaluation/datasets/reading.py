"""What several readers need: finding audio, reading annotations, resolving reference answers."""

from __future__ import annotations

import functools
import json
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calibrate.evaluation.scoring.answers import parse_choice, parse_label
from calibrate.evaluation.scoring.items import Reader
from calibrate.sound.reading import load_audio
from headrouter_core.errors import UsageError

#: Tokens that an answer may take, by kind, where a benchmark does not say.
MAX_NEW_TOKENS = {"choice": 40, "label": 40, "transcript": 1100, "judged": 512}


def locate(root: Path, name: str, folders: Sequence[str] = ("",)) -> Path | None:
    """Find an audio file that an annotation names, in the first of ``folders`` that has it.

    Archives travel between systems, so backslashes are read as slashes too, and names in either
    Unicode form (macOS decomposes them). A leading slash is the root's, not the machine's.
    """
    slashed = (name, name.replace("\\", "/"))
    forms = [unicodedata.normalize(form, text) for text in slashed for form in ("NFC", "NFD")]
    for folder in folders:
        for spelling in dict.fromkeys((*slashed, *forms)):
            path = root / folder / spelling.lstrip("/")
            # not Path.is_file(), which raises for names that no file can have
            if os.path.isfile(path):
                return path
    return None


def reader(path: Path, offset: float = 0.0, duration: float | None = None) -> Reader:
    """Return what reads a file, or a part of it in seconds, when it is called.

    A whole benchmark does not fit in memory.
    """
    return functools.partial(load_audio, path, offset=offset, duration=duration)


def read_json(path: Path) -> Any:
    """Read an annotation file. Raises ``UsageError`` where it is no JSON."""
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no readable JSON ({error}); download it again") from error


def right_choice(answer: Any, choices: Sequence[str], *, by_text: bool) -> int | None:
    """Return which choice a reference answer names.

    Args:
        answer: a choice's letter or its text.
        choices: the options.
        by_text: the field is documented to hold a text, so a text goes before a letter.
    """
    if not isinstance(answer, str):
        return None
    if by_text and (index := parse_label(answer, choices)) is not None:
        return index
    return parse_choice(answer, choices)


def option_lines(choices: Sequence[str], mark: str) -> str:
    """The options as a prompt lists them: a letter, ``mark``, a space, the text; one a line."""
    return "\n".join(f"{chr(ord('A') + i)}{mark} {text}" for i, text in enumerate(choices))
