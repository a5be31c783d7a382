"""Families that need no knowledge of their own: discovery finds all there is to know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headrouter_core.families.base import Family

#: Name, audio tokens a second, and the ids of markers as distances from the audio token's, where
#: only the released tokenizers know them.
_TABLE: tuple[tuple[str, float, tuple[int, ...]], ...] = (
    ("qwen2_audio", 25, (1, 2)),
    ("audioflamingo3", 25, ()),
    ("musicflamingo", 25, ()),
    ("voxtral", 12.5, (1,)),
    ("granite_speech", 10, ()),
    ("granite_speech_plus", 10, ()),
    ("glmasr", 12.5, ()),
    ("vibevoice_asr", 7.5, ()),
    ("qwen3_asr", 13, ()),
    ("fun_asr_nano", 16.7, ()),
    ("moss_transcribe_diarize", 12.5, ()),
)


def _behind(offsets: tuple[int, ...]) -> Callable[[Any], tuple[int, ...]]:
    return lambda config: tuple(config.audio_token_id + offset for offset in offsets)


FAMILIES: tuple[Family, ...] = tuple(
    Family(name, (name,), rate, markers=_behind(offsets)) for name, rate, offsets in _TABLE
)
