"""Reading answers, strictly: what is not clearly one answer is none, and counts as wrong.

Public harnesses take the first A, B, C or D they find, so that "a dog barks" answers A and "THE
ANSWER IS C" answers A as well. Here an answer is a letter that stands as one, or a choice's whole
text; whatever says two things, or something else, is unparsed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from string import ascii_uppercase

from calibrate.evaluation.scoring.items import CHOICE, LABEL, TRANSCRIPT, Item
from calibrate.evaluation.scoring.normalisers import audiomarathon, plain

#: The normalisers used, for results.
NORMALISED_BY = {CHOICE: "plain", LABEL: "plain", TRANSCRIPT: "audiomarathon"}

#: What may stand before the answer itself: "The correct answer is", "Answer:", "Option".
_LEAD = re.compile(
    r"(?:(?:the|my|final|correct|right|best) )*(?:answer|option|choice)(?: is| would be)?"
    r"(?: ?[:=] ?| |$)(?:(?:option|choice|letter) )?",
    re.IGNORECASE,
)
_ALONE = re.compile(r"[(\[]?([a-z])[)\].:]*", re.IGNORECASE | re.ASCII)
#: A letter set off from what follows: "(C)", "[C]", "C.", "C)", "C:", "C - ".
_SET_OFF = re.compile(
    r"(?:[(\[]([a-z])[)\]][.:]?|([a-z])(?:[.):]| [-–—]))(?: |$)", re.IGNORECASE | re.ASCII
)
#: A letter with nothing behind it, or a verdict, or a reason.
_LONE = re.compile(
    r"([a-z])(?: is(?: the)? (?:correct|right|best)(?: (?:answer|option|choice|one))?)?"
    r"(?:$|,? (?:because|since|as) )",
    re.IGNORECASE | re.ASCII,
)
#: A letter that is spoken of as an option somewhere in a text; "a" and "I" are mostly words.
_NAMED = re.compile(
    r"(?<![\w'’])(?:[(\[]([A-Za-z])[)\]]|([A-Z])(?=\s*$|[.,;:!?)]|\s+(?:or|and|is)\b)"
    r"|([b-hj-z])(?![\w'’])|(a)(?=[.):]))"
)
_EDGES = " \t\r\n\"'“”‘’.!"
_EMPHASIS = re.compile(r"[*_`]+")
#: The form that AudioMarathon's transcription prompt asks for, and its variants at the beginning.
_TRANSCRIPT_LEAD = re.compile(
    r".*?\bspoken content\s*:|\s*(?:content|transcription|transcript)\s*:",
    re.IGNORECASE | re.DOTALL,
)
_PLACEHOLDER = "<transcribed text here>"


def parse(item: Item, text: str) -> str | None:
    """Read the answer to an item.

    Returns:
        One of ``item.labels``, or the normalised transcript; ``None`` where the answer is unparsed
        (for a transcript: empty).

    Raises:
        ValueError: the item is for an outside judge.
    """
    if item.kind == TRANSCRIPT:
        return parse_transcript(text)
    if item.kind == CHOICE:
        index = parse_choice(text, item.choices)
    elif item.kind == LABEL:
        index = parse_label(text, item.choices)
    else:
        raise ValueError(f"{item.id}: a {item.kind} answer is not parsed here; export it")
    return None if index is None else item.labels[index]


def parse_choice(text: str, choices: Sequence[str]) -> int | None:
    """Return which choice an answer names, by its letter, its text, or both; ``None`` if unclear.

    Letters go before texts, since it is letters that the prompts ask for. Accepted are, in either
    case and after "The answer is" or the like: ``C``, ``(C)``, ``C is correct``, ``C because ...``,
    a letter set off by ``.``, ``)``, ``:``, a dash, brackets or a line end with that choice's text
    or an explanation behind it, and a choice's whole text alone. Whatever then speaks of another
    choice makes it unclear. A text that two choices share is no answer.
    """
    text = _EMPHASIS.sub("", unicodedata.normalize("NFKC", text)).strip(_EDGES)
    first, _, rest = text.partition("\n")
    body = " ".join(first.split()).strip(_EDGES)
    if (lead := _LEAD.match(body)) is not None:
        body = body[lead.end() :].strip(_EDGES)
    if (alone := _ALONE.fullmatch(body)) is not None and _number(alone) < len(choices):
        return _number(alone) if _agrees(rest, _number(alone), choices) else None
    for whole in (text, f"{body} {rest}"):
        if (index := _whole_text(whole, choices)) is not None:
            return index
    found = _SET_OFF.match(body) or _LONE.match(body)
    if found is None or _number(found) >= len(choices):
        return None
    behind = f"{body[found.end() :]} {rest}"
    return _number(found) if _agrees(behind, _number(found), choices) else None


def _number(found: re.Match[str]) -> int:
    """The number of the choice whose letter was found."""
    return ascii_uppercase.index(next(filter(None, found.groups())).upper())


def _agrees(behind: str, index: int, choices: Sequence[str]) -> bool:
    """Whether what follows a letter speaks of no other choice."""
    if plain(behind) == plain(choices[index]):
        return True
    if _whole_text(behind, choices) is not None:
        return False
    return all(_number(found) == index for found in _NAMED.finditer(behind))


def _whole_text(text: str, choices: Sequence[str]) -> int | None:
    """The only choice whose whole text this is."""
    wanted = plain(text)
    found = [index for index, choice in enumerate(choices) if plain(choice) == wanted]
    return found[0] if wanted and len(found) == 1 else None


def parse_label(text: str, vocabulary: Sequence[str]) -> int | None:
    """Return which word or phrase of a closed vocabulary the whole answer is, else ``None``."""
    return _whole_text(text, vocabulary)


def parse_transcript(text: str) -> str | None:
    """Return the normalised transcript without the lead that the prompt asked for, if any is left.

    As in AudioMarathon's script, what precedes "Spoken Content:" goes with it.
    """
    lead = _TRANSCRIPT_LEAD.match(text)
    spoken = text[lead.end() :] if lead else text
    return audiomarathon(spoken.replace(_PLACEHOLDER, " ")) or None
