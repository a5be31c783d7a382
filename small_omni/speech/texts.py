"""What is said: example sentences of WordNet, and numbers, wishes and dialogues from patterns."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tiny_omni import AUDIO_DIR
from tiny_omni.vocabulary import DIGITS

#: Where Debian's package ``wordnet-base`` puts its files.
WORDNET = Path("/usr/share/wordnet")
#: So many words in a row that a real sentence of the other splits says too exclude a text.
_SHARED = 4


@dataclass(frozen=True)
class Turn:
    """What one voice says in one go."""

    text: str
    """As it is given to a voice."""
    speaker: int = 0
    """Number of the voice within the utterance."""

    @property
    def words(self) -> str:
        """As it is transcribed: lower case, no punctuation."""
        return normalized(self.text)


@dataclass(frozen=True)
class Utterance:
    """Turns that belong together, and what a question about them may ask for."""

    kind: str
    """``sentence``, ``number``, ``wish`` or ``dialogue``."""
    turns: tuple[Turn, ...]
    asked: str = ""
    """Of a number the number, of a wish what is wished for."""


def normalized(text: str) -> str:
    """Lower case words and nothing else, as the transcripts of the real sentences are."""
    return " ".join(re.findall(r"[a-z']+", text.lower()))


def utterances(seed: int, wordnet: Path = WORDNET) -> Iterator[Utterance]:
    """An endless, seeded mixture; the sentences of WordNet come in an order drawn once.

    Raises ``FileNotFoundError`` where WordNet is not installed.
    """
    heard = _heard_in_tests()
    sentences = [text for text in examples(wordnet) if not heard.intersection(_runs(text))]
    random.Random(f"{seed}/order").shuffle(sentences)
    for number in range(10**9):
        rng = random.Random(f"{seed}/{number}")
        draw = rng.random()
        if draw < 0.7:
            made = Utterance("sentence", (Turn(sentences[number % len(sentences)]),))
        elif draw < 0.8:
            made = _number(rng)
        elif draw < 0.9:
            made = _wish(rng)
        else:
            made = _dialogue(rng)
        if not any(heard.intersection(_runs(turn.text)) for turn in made.turns):
            yield made


def examples(wordnet: Path) -> list[str]:
    """The example sentences of WordNet's glosses that read well aloud, sorted."""
    found = set()
    for name in ("noun", "verb", "adj", "adv"):
        path = wordnet / f"data.{name}"
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not there: install Debian's package wordnet-base")
        for line in path.read_text("latin-1").splitlines():
            for quoted in re.findall(r'"([^"]+)"', line.partition("|")[2]):
                text = quoted.strip()
                plain = re.fullmatch(r"[A-Za-z' ,.;!?-]+", text)
                if plain and 4 <= len(text.split()) <= 16:
                    found.add(text)
    return sorted(found)


def _runs(text: str) -> set[str]:
    words = normalized(text).split()
    return {" ".join(words[i : i + _SHARED]) for i in range(len(words) - _SHARED + 1)}


def _heard_in_tests() -> set[str]:
    """Every run of words of the real English sentences that are not for training."""
    runs = set()
    for line in (AUDIO_DIR / "metadata.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        if row["task"] == "sentence_transcription" and row["split"] != "train":
            runs |= _runs(row["transcript"])
    return runs


_NUMBERED = (
    "{}", "{}", "the code is {}", "my number is {}", "please write down {}", "it is {}",
    "the password is {}", "call me at {}", "room {}", "you need the numbers {}",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def _number(rng: random.Random) -> Utterance:
    """Digits one by one, or a number below a thousand."""
    if rng.random() < 0.7:
        number = " ".join(rng.choice(DIGITS) for _ in range(rng.randint(2, 8)))
    else:
        number = " ".join(filter(None, (_hundreds(rng), rng.choice(_TENS), rng.choice(DIGITS[1:]))))
    return Utterance("number", (Turn(rng.choice(_NUMBERED).format(number)),), number)


def _hundreds(rng: random.Random) -> str:
    return f"{rng.choice(DIGITS[1:])} hundred and" if rng.random() < 0.4 else ""


_SIZES = ("a small", "a medium", "a large", "a extra large", "a")
_DRINKS = (
    "latte", "cappuccino", "espresso", "black coffee", "iced coffee", "mocha", "americano",
    "house coffee", "drip coffee", "iced mocha", "green tea", "hot chocolate", "orange juice",
)  # fmt: skip
_WITH = (
    "", "", " with milk", " with soy milk", " with a little cream", " with sugar",
    " with two sugars", " with oat milk", " with a lot of cream", " without sugar",
)  # fmt: skip
_ROOMS = ("kitchen", "bedroom", "living room", "bathroom", "hallway", "garage", "garden")
_DEVICES = ("lights", "heating", "radio", "television", "fan", "music")
_ASKING = ("I would like", "can I have", "could I get", "I'll take", "I want", "give me")
_PLEASE = ("", " please", ", please", " today", " to go")


def _wish(rng: random.Random) -> Utterance:
    """Somebody orders a drink, or tells a house or a phone what to do."""
    draw = rng.random()
    if draw < 0.5:
        wished = f"{rng.choice(_SIZES)} {rng.choice(_DRINKS)}{rng.choice(_WITH)}"
        wished = re.sub("^a (?=[aeio])", "an ", wished)
        text = f"{rng.choice(_ASKING)} {wished}{rng.choice(_PLEASE)}"
        return Utterance("wish", (Turn(text),), wished)
    if draw < 0.75:
        order = f"turn {rng.choice(('on', 'off'))} the {rng.choice(_DEVICES)}"
        order += f" in the {rng.choice(_ROOMS)}"
    else:
        order = rng.choice(
            (
                f"set a timer for {rng.choice(_TENS)} minutes",
                f"wake me up at {rng.choice(DIGITS[1:])} o'clock",
                f"book a table for {rng.choice(DIGITS[2:])}",
                f"call my {rng.choice(('mother', 'brother', 'doctor', 'office', 'neighbour'))}",
                f"play some {rng.choice(('jazz', 'classical music', 'rock', 'piano music'))}",
                f"add {rng.choice(('milk', 'bread', 'apples', 'rice'))} to the shopping list",
            )
        )
    polite = rng.choice(("{}", "please {}", "could you {}", "{} please", "can you {}, please"))
    return Utterance("wish", (Turn(polite.format(order)),), order)


_PLACES = ("the station", "the library", "the museum", "the market", "the harbour", "the airport")
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_NAMES = ("Anna", "Peter", "Maria", "John", "Lucy", "David", "Emma", "Paul")
_CITIES = ("London", "Paris", "Rome", "Oslo", "Vienna", "Madrid")
_DISHES = ("soup", "fish", "salad", "pasta", "chicken", "pie")
_COLD = ("water", "milk", "apple juice", "lemonade")
#: Lines that people say in turn; each name in braces is drawn anew for a dialogue.
_DIALOGUES = (
    (
        "excuse me, how do I get to {place}?",
        "go straight on and then turn left",
        "is it far from {place}?",
        "no, about {number} minutes on foot",
    ),
    (
        "hello {name}, are you free on {day}?",
        "no, on {day} I have to work",
        "what about the day after?",
        "yes, that is fine with me",
    ),
    (
        "when does the train to {city} leave?",
        "it leaves at {number} o'clock from platform {other}",
        "thank you very much",
        "you are welcome",
    ),
    (
        "did you see {name} at {place}?",
        "yes, {name} was there with a friend",
        "what did they talk about?",
        "they talked about the trip on {day}",
    ),
    (
        "what would you like to eat?",
        "I think I will have the {dish}",
        "and something to drink?",
        "a glass of {drink}, please",
    ),
)


def _dialogue(rng: random.Random) -> Utterance:
    """Two or three people talk."""
    names = {
        "place": rng.choice(_PLACES),
        "day": rng.choice(_WEEKDAYS),
        "name": rng.choice(_NAMES),
        "city": rng.choice(_CITIES),
        "dish": rng.choice(_DISHES),
        "drink": rng.choice(_COLD),
        "number": rng.choice(DIGITS[1:]),
        "other": rng.choice(DIGITS[1:]),
    }
    lines = rng.choice(_DIALOGUES)[: rng.randint(2, 4)]
    people = rng.choice((2, 2, 3))
    return Utterance(
        "dialogue",
        tuple(Turn(line.format(**names), place % people) for place, line in enumerate(lines)),
    )
