"""Named ways to write a text so that two spellings of one answer are equal."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

_MARKS = re.compile(r"[.,;:!?\"“”„()\[\]{}*_`]+")
_AUDIOMARATHON_SPACED = re.compile(r"[.!?,;:\"()\[\]{}]")
_AUDIOMARATHON_DELETED = re.compile(r"[-']")


def plain(text: str) -> str:
    """For labels and options: case-folded, without punctuation marks, one space between words.

    Unicode is brought to NFKC. Hyphens, ``#``, ``+``, ``/`` and other signs stay (C is not C#), and
    so do apostrophes inside a word; those around a text go.
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(_MARKS.sub(" ", text).split()).strip("'‘’ ")


def audiomarathon(text: str) -> str:
    """For transcripts: what AudioMarathon's Qwen script does before it counts word errors.

    Lower case; ``. ! ? , ; : " ( ) [ ] { }`` become spaces; ``-`` and ``'`` are deleted; one space
    between words. (`src/Qwen_2.5_Omni/Others/LibriSpeech_qwen2.5.py`, DabDans/AudioMarathon.)
    """
    text = _AUDIOMARATHON_SPACED.sub(" ", text.lower())
    return " ".join(_AUDIOMARATHON_DELETED.sub("", text).split())


#: Name, as written into results -> function.
NORMALISERS: dict[str, Callable[[str], str]] = {"plain": plain, "audiomarathon": audiomarathon}
