"""The clips that scenes are composed from: one labelled recording each, grouped by split."""

from __future__ import annotations

import functools
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from tiny_omni import AUDIO_DIR
from tiny_omni.vocabulary import BEDS, EVENTS

SAMPLE_RATE = 16_000
SPLITS = ("train", "calibration", "test")

#: metadata task -> kind of scene item; tasks that only add a label to another's file are folded in.
_KINDS = {
    "spoken_digit": "digit",
    "spoken_keyword": "keyword",
    "spoken_command_drink": "order",
    "spoken_sentence_id_de": "german",
    "sentence_transcription": "english",
    "music_instrument": "instrument",
}


@dataclass(frozen=True)
class Clip:
    """One recording: what is in it and who may be heard."""

    file: str
    kind: str
    label: str
    split: str
    source: str
    """Original recording, for splits and clustered intervals."""
    speaker: str | None = None
    gender: str | None = None
    emotion: str | None = None
    folder: Path = field(default=AUDIO_DIR, compare=False, repr=False)

    def read(self) -> np.ndarray:
        """The samples, float32 mono at 16 kHz."""
        return _read(self.path)

    @property
    def path(self) -> Path:
        """Where it lies: each split has a folder, so that the wheel can carry one of them."""
        return self.folder / self.split / self.file


@functools.lru_cache(maxsize=4096)
def _read(path: Path) -> np.ndarray:
    samples: np.ndarray
    samples, rate = soundfile.read(path, dtype="float32")
    if rate != SAMPLE_RATE or samples.ndim != 1:
        raise ValueError(f"{path}: expected {SAMPLE_RATE} Hz mono, found {rate} Hz {samples.shape}")
    samples.setflags(write=False)
    return samples


def load_clips(split: str, folder: Path = AUDIO_DIR) -> list[Clip]:
    """All clips of one split, in the order of ``metadata.jsonl``.

    Raises ``ValueError`` for an unknown split and ``FileNotFoundError`` where the folder lacks a
    clip that its metadata names.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: expected one of {', '.join(SPLITS)}")
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in _metadata(folder / "metadata.jsonl"):
        if row["split"] == split:
            rows[row["file"]].append(row)
    clips = [_clip(file, entries, folder) for file, entries in rows.items()]
    missing = [clip.file for clip in clips if not clip.path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} clips of the {split} split are not here, {missing[0]} first: an "
            "installed package carries the calibration split only; use a checkout"
        )
    return clips


def _metadata(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _clip(file: str, rows: list[dict[str, Any]], folder: Path) -> Clip:
    by_task = {row["task"]: row for row in rows}
    emotion = by_task.get("speech_emotion")
    named = next((row for task, row in by_task.items() if task in _KINDS), rows[0])
    label = named["label"]
    if named["task"] == "environment_sound":
        kind = "bed" if label in BEDS else "event"
        assert kind == "bed" or label in EVENTS, label
    else:
        kind = _KINDS[named["task"]]
    return Clip(
        file=file,
        kind=kind,
        label=label,
        split=named["split"],
        source=named.get("source_clip") or file,
        speaker=named["speaker"],
        gender=named["gender"],
        emotion=emotion["label"] if emotion else None,
        folder=folder,
    )


class Bank:
    """Clips of one split, indexed for drawing: kind -> label -> clips, and speaker -> clips."""

    def __init__(self, clips: list[Clip]) -> None:
        self.by_label: dict[str, dict[str, list[Clip]]] = defaultdict(lambda: defaultdict(list))
        self.by_speaker: dict[str, dict[str, list[Clip]]] = defaultdict(lambda: defaultdict(list))
        for clip in clips:
            self.by_label[clip.kind][clip.label].append(clip)
            if clip.speaker is not None:
                self.by_speaker[clip.kind][clip.speaker].append(clip)

    def holds(self, kind: str) -> bool:
        """Whether there is a clip for items of a kind, as scenes name it."""
        return bool(self.by_label["digit" if kind == "digits" else kind])

    @classmethod
    def of(cls, split: str, folder: Path = AUDIO_DIR) -> Bank:
        """The bank of one split."""
        return cls(load_clips(split, folder))
