"""Scenes in which somebody talks: sentences, numbers, wishes and dialogues, and what is asked."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from small_omni.recipe.questions import choice
from small_omni.speech.texts import normalized
from tiny_omni import AUDIO_DIR
from tiny_omni.augment import augment
from tiny_omni.clips import SAMPLE_RATE, Bank, Clip
from tiny_omni.questions import Question, questions
from tiny_omni.scenes import TOKEN_SAMPLES, Part, Scene, draw, levelled, mix
from tiny_omni.vocabulary import DIGITS

#: How often a talk is of which kind; ``real`` are the sentences that tiny-omni trains on.
_SHARES = {"sentence": 0.4, "real": 0.2, "number": 0.13, "wish": 0.13, "dialogue": 0.14}
_TRANSCRIBE = (
    "Transcribe the speech.",
    "Write down what is said.",
    "What is said in this recording?",
    "Please transcribe the English speech, word for word.",
    "What does the speaker say?",
    "Give me the transcript of this audio.",
    "Listen and type the words you hear.",
)
_WISH = (
    "What does the speaker want?",
    "What is the person asking for?",
    "What does this person wish for?",
    "In short: what is wanted?",
)
_NUMBER = (
    "Which number is said?",
    "Write down the number.",
    "Which number does the speaker give?",
    "What number do you hear?",
)
_SPEAKERS = (
    "How many people speak?",
    "How many different voices are there?",
    "Count the speakers.",
    "How many speakers do you hear?",
)
_FIRST = ("What is said first?", "What does the first speaker say at the beginning?")
_LAST = ("What is said last?", "What are the last words somebody says?")
_WHICH = ("Which of these is said?", "What is said in the recording?", "Which text is spoken?")


@dataclass(frozen=True)
class Said:
    """A clip of speech and its words."""

    clip: Clip
    words: str


@dataclass(frozen=True)
class Spoken:
    """Clips that belong together; see :class:`small_omni.speech.texts.Utterance`."""

    kind: str
    turns: tuple[Said, ...]
    asked: str = ""

    @property
    def words(self) -> str:
        """All that is said."""
        return " ".join(turn.words for turn in self.turns)


def load_spoken(folder: Path) -> dict[str, list[Spoken]]:
    """Kind -> utterances: the synthetic speech in ``folder`` and tiny-omni's training sentences.

    Raises ``FileNotFoundError`` where there is no synthetic speech.
    """
    path = folder / "metadata.jsonl"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; make it: python -m small_omni.speech")
    utterances: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for line in path.read_text("utf-8").splitlines():
        row = json.loads(line)
        utterances[row["utterance"]].append(row)
    kinds: dict[str, list[Spoken]] = {"real": list(_real())}
    for rows in utterances.values():
        turns = tuple(Said(_clip(row, folder), row["words"]) for row in rows)
        spoken = Spoken(rows[0]["kind"], turns, rows[0]["asked"])
        kinds.setdefault(spoken.kind, []).append(spoken)
    return kinds


def _clip(row: dict[str, Any], folder: Path) -> Clip:
    return Clip(
        file=row["file"],
        kind="english",
        label=row["words"],
        split="train",
        source=row["file"],
        speaker=row["voice"],
        gender=row["gender"],
        folder=folder,
    )


def _real() -> Iterator[Spoken]:
    rows = map(json.loads, (AUDIO_DIR / "metadata.jsonl").read_text("utf-8").splitlines())
    for row in rows:
        if row["task"] == "sentence_transcription" and row["split"] == "train":
            words = row["transcript"]
            clip = _clip({**row, "words": words, "voice": row["speaker"]}, AUDIO_DIR)
            yield Spoken("real", (Said(clip, normalized(words)),))


class Talks:
    """Composes talks; equal names give equal scenes."""

    def __init__(self, folder: Path, bank: Bank) -> None:
        self._spoken, self._bank = load_spoken(folder), bank
        self._kinds = [kind for kind in _SHARES if self._spoken.get(kind)]

    def compose(self, name: str, seconds: float) -> tuple[Scene, list[Question]]:
        """A scene of this length, varied as in training, and all questions about it."""
        rng = random.Random(f"talk/{name}/{seconds}")
        length = round(seconds * SAMPLE_RATE / TOKEN_SAMPLES) * TOKEN_SAMPLES
        chosen = self._choose(rng, int(0.9 * length))
        said = [turn for spoken, _ in chosen for turn in spoken.turns]
        clips = [piece for _, pieces in chosen for piece in pieces]
        parts: list[Part] = [("talk", clips)]
        room = length - _size(clips)
        for kind in ("event", "instrument"):
            drawn = draw(kind, self._bank, rng, length, True)
            if rng.random() < 0.25 and _size(drawn) < 0.9 * room:
                parts.append((kind, drawn))
                room -= _size(drawn)
        rng.shuffle(parts)
        scene = mix(parts, length, self._bank, rng, varied=True, bed=False)
        heard = questions(scene, f"talk/{name}", ("event", "background", "instrument"))
        return scene, [*self._ask(chosen[0][0], said, rng), *heard]

    def _choose(
        self, rng: random.Random, room: int
    ) -> list[tuple[Spoken, list[tuple[Clip, np.ndarray, int]]]]:
        """Utterances that fit: one, or of sentences up to three."""
        kind = rng.choices(self._kinds, [_SHARES[kind] for kind in self._kinds])[0]
        most = rng.choice((1, 1, 2, 3)) if kind in ("sentence", "real") else 1
        chosen: list[tuple[Spoken, list[tuple[Clip, np.ndarray, int]]]] = []
        for attempt in range(40):
            if len(chosen) == most:
                break
            # what is long does not fit a short scene: after some tries take numbers, the shortest
            pool = "number" if attempt >= 20 and not chosen and "number" in self._kinds else kind
            spoken = rng.choice(self._spoken[pool])
            pieces = [
                (turn.clip, _varied(turn.clip, rng), int(rng.uniform(0.1, 0.6) * SAMPLE_RATE))
                for turn in spoken.turns
            ]
            if _size(pieces) <= room:
                chosen.append((spoken, pieces))
                room -= _size(pieces)
        if not chosen:
            raise ValueError(f"no speech is short enough for {room / SAMPLE_RATE:.1f} s")
        return chosen

    def _ask(self, spoken: Spoken, said: list[Said], rng: random.Random) -> Iterator[Question]:
        """The questions about what is said."""
        whole = " ".join(turn.words for turn in said)
        yield _question("transcribe", rng.choice(_TRANSCRIBE), whole)
        if spoken.kind == "number":
            yield _question("number", rng.choice(_NUMBER), spoken.asked)
        if spoken.kind == "wish":
            yield _question("wish", rng.choice(_WISH), spoken.asked)
        if len(said) > 1:
            voices = len({turn.clip.speaker for turn in said})
            yield _question("speakers", rng.choice(_SPEAKERS), DIGITS[voices])
            prompts, turn = rng.choice(((_FIRST, said[0]), (_LAST, said[-1])))
            yield _question("part", rng.choice(prompts), turn.words)
        if rng.random() < 0.5:
            other = rng.choice(self._spoken[rng.choice(self._kinds)]).words.split()
            yield from _word(whole.split(), other, rng)
        if rng.random() < 0.3:
            pool = self._spoken[spoken.kind]
            others = {rng.choice(pool).words for _ in range(3)} - {spoken.words}
            pair = choice(rng.choice(_WHICH), spoken.words, sorted(others), rng)
            if others:
                yield _question("said/choice", *pair)


def _word(said: list[str], other: list[str], rng: random.Random) -> Iterator[Question]:
    """Whether a longer word is said: one of these, or one of another text's."""
    possible = [word for word in (said if rng.random() < 0.5 else other) if len(word) > 3]
    if possible:
        word = rng.choice(possible)
        prompts = (
            f'Is the word "{word}" said?',
            f'Does anybody say "{word}"? Answer yes or no.',
            f"Can you hear the word {word}?",
        )
        yield _question("said", rng.choice(prompts), "yes" if word in said else "no")


def _question(task: str, prompt: str, answer: str) -> Question:
    return Question(task, "semantic", prompt, answer, answer)


def _varied(clip: Clip, rng: random.Random) -> np.ndarray:
    """A variation of the clip, not kept: there are too many clips to keep them all."""
    samples, _ = soundfile.read(clip.path, dtype="float32")
    return levelled(augment(samples, rng, speech=True))


def _size(pieces: list[tuple[Clip, np.ndarray, int]]) -> int:
    return sum(len(samples) + gap for _, samples, gap in pieces)
