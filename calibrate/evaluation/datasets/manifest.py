"""Any JSONL manifest or audio folder, in the form that ``headrouter calibrate`` takes.

Two more fields may say how an answer is scored. ``kind``: ``choice`` (the prompt lists lettered
options), ``label`` (the answer is one of a closed vocabulary), ``transcript`` or ``judged``; unless
given, ``choice`` where there are choices and ``label`` where there are none. ``choices``: the
options in the order of their letters, or the vocabulary, which is else all answers of the task; a
list, in CSV written as JSON. Prompts are asked as they stand.
"""

from __future__ import annotations

import json
import os
import reprlib
from collections import defaultdict
from pathlib import Path

from calibrate.estimation.samples.manifests import Entry, read_manifest
from calibrate.evaluation.datasets.reading import MAX_NEW_TOKENS, reader, right_choice
from calibrate.evaluation.scoring.items import (
    CHOICE,
    JUDGED,
    KINDS,
    LABEL,
    TRANSCRIPT,
    Dataset,
    Fault,
    Item,
    letters,
)
from calibrate.evaluation.scoring.normalisers import audiomarathon, plain
from headrouter_core.errors import UsageError

#: Answers of a closed vocabulary, as of sound events or speakers.
_MOST_LABELS = 2000


def manifest(path: Path) -> Dataset:
    """Read a manifest or audio folder.

    Entries whose audio is not there become faults; a malformed line is an error.

    Raises:
        UsageError: naming file and line, as
            :func:`calibrate.estimation.samples.manifests.read_manifest`, and for an unknown kind,
            choices that are no list, or an answer that cannot be right.
    """
    by_task: dict[str, list[Entry]] = defaultdict(list)
    for entry in read_manifest(path):
        by_task[entry.task].append(entry)
    items, faults = [], []
    for task, entries in by_task.items():
        given = {entry.id: _choices(entry) for entry in entries}
        # options that are the same throughout are classes, whatever their order
        classes = len({tuple(sorted(map(plain, texts))) for texts in given.values()}) == 1
        vocabulary = _vocabulary(entries, given)
        words = tuple(vocabulary.values())  # which all items share
        for entry in entries:
            if os.path.isfile(entry.path):
                items.append(_item(entry, given[entry.id], classes, vocabulary, words))
            else:
                faults.append(Fault(entry.id, task, f"no such audio file: {entry.name}"))
    return Dataset(path.name, tuple(items), tuple(faults))


def _item(
    entry: Entry,
    given: tuple[str, ...],
    classes: bool,
    vocabulary: dict[str, str],
    words: tuple[str, ...],
) -> Item:
    kind, reference = _kind(entry), entry.answer
    choices, labels = given, given
    if kind == CHOICE:
        index = right_choice(entry.answer, choices, by_text=classes)
        if index is None:
            raise UsageError(f"{entry.where}: answer {entry.answer!r} is none of {list(choices)}")
        labels = tuple(map(plain, choices)) if classes else letters(choices)
        reference = labels[index]
    elif kind == LABEL:
        if plain(entry.answer) not in vocabulary:
            raise UsageError(f"{entry.where}: answer {entry.answer!r} has no letters or digits")
        if len(words) > _MOST_LABELS:
            raise UsageError(
                f"{entry.where}: task {entry.task!r} has {len(words)} different answers, and one of"
                f" a closed vocabulary may have {_MOST_LABELS}: each is put to the model for every"
                " item; give kind transcript or judged, or choices"
            )
        choices = labels = words
        reference = vocabulary[plain(entry.answer)]
    else:
        choices = labels = ()
    if kind == TRANSCRIPT and not audiomarathon(entry.answer):
        raise UsageError(f"{entry.where}: transcript {entry.answer!r} has no words")
    return Item(
        id=entry.id,
        task=entry.task,
        group=entry.group,
        prompt=entry.prompt,
        kind=kind,
        reference=reference,
        cluster=entry.cluster,
        audios=(reader(entry.path, entry.offset, entry.duration),),
        choices=choices,
        labels=labels,
        max_new_tokens=MAX_NEW_TOKENS[kind],
        judge={"question": entry.prompt} if kind == JUDGED else {},
        where=entry.where,
    )


def _kind(entry: Entry) -> str:
    kind = entry.scoring.get("kind") or (CHOICE if entry.scoring.get("choices") else LABEL)
    if kind not in KINDS:
        raise UsageError(f"{entry.where}: kind is {kind!r}; expected {', '.join(KINDS)}")
    if kind == CHOICE and not entry.scoring.get("choices"):
        raise UsageError(f"{entry.where}: a choice needs its options in 'choices'")
    return str(kind)


def _choices(entry: Entry) -> tuple[str, ...]:
    """The choices of an entry, none where it has none."""
    value = entry.scoring.get("choices")
    if not value:
        return ()
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:  # also of digits and brackets without end
            raise UsageError(
                f"{entry.where}: choices {reprlib.repr(value)} are no JSON list"
            ) from error
    texts = value if isinstance(value, list) else []
    if not 2 <= len(texts) <= 26 or not all(
        isinstance(text, str) and plain(text) for text in texts
    ):
        raise UsageError(
            f"{entry.where}: choices must be a list of 2 to 26 texts, got {reprlib.repr(value)}"
        )
    return tuple(texts)


def _vocabulary(entries: list[Entry], given: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """The closed vocabulary of a task: its choices and answers, each in its first spelling.

    Under what is left of them where case and punctuation do not count.
    """
    spellings: dict[str, str] = {}
    for entry in entries:
        for text in (*given[entry.id], entry.answer):
            spellings.setdefault(plain(text), text)
    spellings.pop("", None)
    return spellings
