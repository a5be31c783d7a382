"""What is asked in training: tiny-omni's nine tasks in many wordings, and what needs more.

Questions of tiny-omni's tasks keep its answers, so that both models can be compared; half of the
time they are reworded, or made a choice between letters. The other tasks have an answer in any
scene that holds what they ask about.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from string import ascii_uppercase

from tiny_omni.questions import Question, questions
from tiny_omni.scenes import Item, Scene
from tiny_omni.vocabulary import (
    BEDS,
    DIGITS,
    EMOTIONS,
    EVENTS,
    GENDERS,
    INSTRUMENTS,
    KEYWORDS,
    NO_BED,
)

#: More wordings of tiny-omni's tasks; "reasoning" and "gender" name what they ask about.
_REWORDED = {
    "digits": (
        "Listen and write the digits you hear, as words.",
        "Which sequence of digits is read out?",
        "Give me the number sequence word by word.",
        "What are the spoken numbers, one after another?",
        "Please note down every digit that is said.",
        "Someone says a few digits. Which ones?",
    ),
    "keyword": (
        "Which command word does someone say?",
        "What is the voice assistant called?",
        "Somebody addresses a device. With which word?",
        "Tell me the activation phrase.",
        "Which trigger word is said in this recording?",
    ),
    "sentence": (
        "Write down what is said in German.",
        "What is the German sentence, word for word?",
        "Please transcribe what the German speaker says.",
        "Which words are spoken in German?",
    ),
    "event": (
        "Apart from speech and music, what happens in this audio?",
        "What made the noise in this recording?",
        "Tell me which sound effect you hear.",
        "Identify the sound event.",
        "What noise occurs at some point?",
    ),
    "background": (
        "What can be heard all the time?",
        "Which noise lies behind everything?",
        "Describe the background of the recording in a word or two.",
        "Is there a background sound, and which?",
        "What is the ambience?",
    ),
    "instrument": (
        "Identify the instrument.",
        "Somebody plays music for a moment. On what?",
        "Tell me which instrument sounds.",
        "What is the musician playing?",
        "The music comes from which instrument?",
    ),
    "emotion": (
        "In which emotional state is the person who speaks German?",
        "How does the voice that speaks German sound?",
        "Which feeling is in the German voice?",
        "Tell me the German speaker's mood.",
    ),
}
#: The tasks that can be a choice of a few words.
LABELS = {
    "keyword": KEYWORDS,
    "event": tuple(EVENTS.values()),
    "background": (*BEDS.values(), NO_BED),
    "instrument": tuple(INSTRUMENTS.values()),
    "emotion": tuple(EMOTIONS.values()),
    "gender": GENDERS,
}
#: How a question asks for a letter; the options stand before.
_LETTER = (
    "Respond with only the letter of the correct option ({letters}).",
    "Reply with only the letter ({letters}).",
    "Please select the correct answer ({letters}).",
    "Answer with the letter of the right option.",
    "Which option is right? Give its letter.",
)
_MARKS = (".", ".", ":", ")")
#: How an item is called when it is not asked about.
_CALLED = {
    "digits": "the digits",
    "keyword": "the wake word",
    "order": "the order at a café",
    "german": "the German sentence",
    "english": "the English sentence",
    "event": "the sound event",
    "instrument": "the instrument",
}
_Made = Iterator[tuple[str, str]]


def ask(scene: Scene, seed: str) -> list[Question]:
    """All questions that the scene answers, worded by ``seed``."""
    asked = [_varied(question, f"{seed}/{question.task}") for question in questions(scene, seed)]
    for task, (share, make) in _MORE.items():
        rng = random.Random(f"{seed}/{task}")
        if rng.random() < share:
            asked += [Question(task, "", *pair, pair[1]) for pair in make(scene, rng)]
    return asked


def _varied(question: Question, seed: str) -> Question:
    """The question as tiny-omni asks it, reworded, or as a choice."""
    rng = random.Random(f"{seed}/varied")
    draw, prompt = rng.random(), question.prompt
    if draw < 0.5 and question.task in _REWORDED:
        prompt = rng.choice(_REWORDED[question.task])
    if 0.4 < draw < 0.7 and question.task in LABELS:
        labels = LABELS[question.task]
        others = [name for name in labels if name != question.answer]
        drawn = rng.sample(others, min(3, len(others)))
        prompt, letter = choice(prompt, question.answer, drawn, rng)
        return Question(f"{question.task}/choice", question.group, prompt, letter, letter)
    return Question(question.task, question.group, prompt, question.answer, question.label)


def choice(prompt: str, answer: str, others: list[str], rng: random.Random) -> tuple[str, str]:
    """A prompt that lists options by letter, in AudioMarathon's manner, and the right letter."""
    options = rng.sample([answer, *others], len(others) + 1)
    letters = ascii_uppercase[: len(options)]
    mark, order = rng.choice(_MARKS), rng.choice(_LETTER)
    lines = [f"{letter}{mark} {text}" for letter, text in zip(letters, options, strict=True)]
    named = ", ".join(letters[:-1]) + f" or {letters[-1]}"
    text = "\n".join([prompt, *lines, order.format(letters=named)])
    return text, letters[options.index(answer)]


def _name(item: Item) -> str:
    """What an item is, short: the label of a sound, the kind of speech."""
    names = {"event": EVENTS, "instrument": INSTRUMENTS}.get(item.kind)
    return names[item.labels[0]] if names else _CALLED[item.kind]


def _said(scene: Scene, rng: random.Random) -> _Made:
    """Whether a word is said: one that is, or one that could be."""
    said = {label for kind in ("digits", "keyword") for label in _labels(scene, kind)}
    possible = sorted(said) if rng.random() < 0.5 else sorted({*DIGITS, *KEYWORDS} - said)
    if said and possible:
        word = rng.choice(possible)
        prompts = (
            f'Is the word "{word}" said?',
            f'Does anybody say "{word}"? Answer yes or no.',
            f"Can you hear the word {word}?",
        )
        yield rng.choice(prompts), "yes" if word in said else "no"


def _heard(scene: Scene, rng: random.Random) -> _Made:
    """Whether a sound is there."""
    there = {EVENTS[label] for label in _labels(scene, "event")}
    there |= {INSTRUMENTS[label] for label in _labels(scene, "instrument")}
    there |= {BEDS[scene.bed.label]} if scene.bed else set()
    known = {*EVENTS.values(), *INSTRUMENTS.values(), *BEDS.values()}
    possible = sorted(there) if rng.random() < 0.5 else sorted(known - there)
    if possible:
        sound = rng.choice(possible)
        prompts = (
            f"Is there a sound of this kind: {sound}?",
            f"Do you hear this: {sound}? Answer yes or no.",
            f"Can {sound} be heard?",
        )
        yield rng.choice(prompts), "yes" if sound in there else "no"


def _first(scene: Scene, rng: random.Random) -> _Made:
    """Which of two things comes first."""
    if len(scene.items) > 1:
        pair = sorted(rng.sample(range(len(scene.items)), 2))
        names = [_name(scene.items[place]) for place in pair]
        if names[0] != names[1]:
            one, other = rng.sample(names, 2)
            prompts = (
                f"What comes first, {one} or {other}?",
                f"Which is earlier: {one} or {other}?",
                f"What do you hear first: {one}, or {other}?",
            )
            yield rng.choice(prompts), names[0]


def _long(scene: Scene, rng: random.Random) -> _Made:
    """How long the recording is."""
    prompts = (
        "How long is the recording?",
        "How many seconds does this audio last?",
        "What is the length of this recording in seconds?",
    )
    yield rng.choice(prompts), f"{round(scene.seconds)} seconds"


def _both(scene: Scene, rng: random.Random) -> _Made:
    """Which sound and which word, in one answer."""
    sound, word = scene.item("event"), scene.item("keyword")
    if sound and word:
        prompts = (
            "Which sound and which wake word do you hear?",
            "Name the sound event and the keyword.",
            "What makes a noise, and which keyword is said?",
        )
        yield rng.choice(prompts), f"{EVENTS[sound.labels[0]]} and {word.labels[0]}"


def _wanted(scene: Scene, rng: random.Random) -> _Made:
    """What somebody at a café wants."""
    order = scene.item("order")
    if order:
        prompts = (
            "What does the speaker want?",
            "Which drink is ordered?",
            "What does the customer order?",
            "Which coffee drink does the person ask for?",
        )
        yield rng.choice(prompts), order.labels[0]


def _labels(scene: Scene, kind: str) -> tuple[str, ...]:
    item = scene.item(kind)
    return item.labels if item else ()


#: Task -> how often it is asked where it could be, and how. Any scene could have a "yes or no", so
#: these are asked seldom enough to leave room for tiny-omni's tasks.
_MORE: dict[str, tuple[float, Callable[[Scene, random.Random], _Made]]] = {
    "said": (0.3, _said),
    "heard": (0.25, _heard),
    "first": (0.25, _first),
    "long": (0.1, _long),
    "both": (0.6, _both),
    "wanted": (0.6, _wanted),
}
