"""What can be asked about a scene: natural-language prompts with paraphrases, and the answers."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from tiny_omni.clips import Bank
from tiny_omni.scenes import Scene, compose
from tiny_omni.vocabulary import (
    BEDS,
    DIGITS,
    DRINKS,
    EMOTIONS,
    EVENTS,
    GENDERS,
    INSTRUMENTS,
    KEYWORDS,
    NO_BED,
    SENTENCES,
    SYSTEM,
)

#: Scene -> (prompt, answer), or nothing where the scene leaves the question open.
Ask = Callable[[Scene, random.Random], tuple[str, str] | None]


@dataclass(frozen=True)
class Question:
    """A prompt about a scene and the one answer that is right."""

    task: str
    group: str
    prompt: str
    answer: str
    label: str
    """The class for F1 scores: the answer itself, except where the answer is a transcript."""


@dataclass(frozen=True)
class Task:
    """One category of questions."""

    group: str
    needs: tuple[str, ...]
    """Kinds of scene item, one of which must be there for the question to make sense."""
    ask: Ask
    chance: float
    """Accuracy of guessing."""


_DIGITS = (
    "Which digits are spoken?",
    "Transcribe the digits.",
    "What numbers does the speaker say?",
    "Write down the spoken digits in order.",
)
_FIRST = ("What is the first digit?", "Which digit is said first?")
_LAST = ("What is the last digit?", "Which digit is said last?")
_COUNT = ("How many digits are spoken?", "How many numbers does the speaker say?")
_KEYWORD = (
    "Which keyword is spoken?",
    "What is the wake word?",
    "Which wake word do you hear?",
    "Name the spoken keyword.",
)
#: Asked in the first part of training only: the few orders taught nothing about new ones.
_ORDER = (
    "Which drink is ordered?",
    "What does the customer order?",
    "Which coffee drink does the person ask for?",
    "Name the ordered drink.",
)
_SENTENCE = (
    "Which German sentence is spoken?",
    "What does the German speaker say?",
    "Transcribe the German sentence.",
    "Write down the sentence in German.",
)
_EVENT = (
    "Which sound event occurs?",
    "What sound can be heard?",
    "Which event do you hear in the recording?",
    "Name the sound event.",
)
_BACKGROUND = (
    "What is in the background?",
    "Which background sound is there?",
    "What sound lies under the whole recording?",
    "Name the background.",
)
_INSTRUMENT = (
    "Which instrument is playing?",
    "What instrument do you hear?",
    "Name the musical instrument.",
    "Which musical instrument is played?",
)
_EMOTION = (
    "What emotion does the German speaker show?",
    "How does the German speaker feel?",
    "Name the emotion of the German speaker.",
    "In which mood is the German sentence spoken?",
)
_GENDER = {
    "digits": (
        "Is the person who says the digits female or male?",
        "What is the gender of the speaker of the digits?",
    ),
    "english": (
        "Is the person who reads English female or male?",
        "What is the gender of the English reader?",
    ),
}


def _named(kind: str, prompts: tuple[str, ...], names: dict[str, str] | None = None) -> Ask:
    """Ask for the label of the scene's one item of this kind."""

    def ask(scene: Scene, rng: random.Random) -> tuple[str, str] | None:
        item = scene.item(kind)
        if item is None:
            return None
        label = item.labels[0]
        return rng.choice(prompts), names[label] if names else label

    return ask


def _digits(scene: Scene, rng: random.Random) -> tuple[str, str] | None:
    item = scene.item("digits")
    return None if item is None else (rng.choice(_DIGITS), " ".join(item.labels))


def _reasoning(scene: Scene, rng: random.Random) -> tuple[str, str] | None:
    item = scene.item("digits")
    if item is None:
        return None
    return rng.choice(
        [
            (rng.choice(_FIRST), item.labels[0]),
            (rng.choice(_LAST), item.labels[-1]),
            (rng.choice(_COUNT), DIGITS[len(item.labels)]),
        ]
    )


def _background(scene: Scene, rng: random.Random) -> tuple[str, str]:
    return rng.choice(_BACKGROUND), BEDS[scene.bed.label] if scene.bed else NO_BED


def _emotion(scene: Scene, rng: random.Random) -> tuple[str, str] | None:
    item = scene.item("german")
    if item is None:
        return None
    return rng.choice(_EMOTION), EMOTIONS[str(item.clips[0].clip.emotion)]


def _gender(scene: Scene, rng: random.Random) -> tuple[str, str] | None:
    items = [item for kind in _GENDER if (item := scene.item(kind))]
    if not items:
        return None
    item = rng.choice(items)
    return rng.choice(_GENDER[item.kind]), str(item.clips[0].clip.gender)


TASKS: dict[str, Task] = {
    "digits": Task("semantic", ("digits",), _digits, 0.0),
    "keyword": Task("semantic", ("keyword",), _named("keyword", _KEYWORD), 1 / 6),
    "sentence": Task("semantic", ("german",), _named("german", _SENTENCE, SENTENCES), 1 / 10),
    "reasoning": Task("semantic", ("digits",), _reasoning, 1 / 8),
    "event": Task("acoustic", ("event",), _named("event", _EVENT, EVENTS), 1 / 6),
    "background": Task("acoustic", ("bed",), _background, 1 / 5),
    "instrument": Task(
        "acoustic", ("instrument",), _named("instrument", _INSTRUMENT, INSTRUMENTS), 1 / 10
    ),
    "emotion": Task("acoustic", ("german",), _emotion, 1 / 7),
    "gender": Task("acoustic", ("digits", "english"), _gender, 1 / 2),
}


def questions(
    scene: Scene, seed: int | str, tasks: tuple[str, ...] = tuple(TASKS)
) -> list[Question]:
    """Every question of ``tasks`` that the scene answers, its paraphrase drawn by ``seed``."""
    asked = []
    for name in tasks:
        task = TASKS[name]
        pair = task.ask(scene, random.Random(f"{seed}/{name}"))
        if pair is not None:
            prompt, answer = pair
            asked.append(Question(name, task.group, prompt, answer, answer))
    return asked


def pose(
    bank: Bank, task: str, index: int, name: str, seconds: float
) -> tuple[Scene, Question, str]:
    """Compose the scene called ``name`` and ask ``task`` about it.

    Tasks that can be asked about several kinds of item take turns by ``index``. The third result is
    the cluster: the speaker or recording that is asked about.
    """
    needs = TASKS[task].needs
    need = needs[index % len(needs)]
    scene = compose(bank, name, seconds, need=need)
    (question,) = questions(scene, name, (task,))
    item = scene.item(need)
    clip = scene.bed if item is None else item.clips[0].clip
    assert clip is not None
    return scene, question, clip.speaker or clip.source


def corpus() -> list[str]:
    """Text for the tokenizer: every prompt and answer, so often that their words become tokens."""
    groups = (_DIGITS, _FIRST, _LAST, _COUNT, _KEYWORD, _ORDER, _SENTENCE, _EVENT, _BACKGROUND)
    prompts = [text for group in (*groups, _INSTRUMENT, _EMOTION) for text in group]
    prompts += [text for group in _GENDER.values() for text in group]
    answers = [*DIGITS, *KEYWORDS, *DRINKS, *SENTENCES.values(), *EMOTIONS.values(), NO_BED]
    answers += [*EVENTS.values(), *BEDS.values(), *INSTRUMENTS.values(), *GENDERS]
    spaced = [f" {digit} {digit}" for digit in DIGITS]
    roles = ["user\n", "assistant\n", "system\n", SYSTEM]
    return (prompts + answers + spaced + roles) * 50
