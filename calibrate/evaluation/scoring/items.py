"""What is asked in an evaluation: items, and what a set of them lacks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from string import ascii_uppercase
from typing import Any

import numpy as np

#: A question with lettered options; the answer is a letter or an option's text.
CHOICE = "choice"
#: A question whose answer is one of a closed vocabulary that the prompt does not list.
LABEL = "label"
#: A transcript.
TRANSCRIPT = "transcript"
#: An open answer: exported for an outside judge, never scored here.
JUDGED = "judged"
KINDS = (CHOICE, LABEL, TRANSCRIPT, JUDGED)

#: Given ``max_seconds``, the longest that is taken, returns a recording.
Reader = Callable[..., np.ndarray]


@dataclass(frozen=True)
class Item:
    """One question about one or several recordings, and what is right."""

    id: str
    """Unique in its set, and the same whenever the set is read."""
    task: str
    group: str | None
    """semantic or acoustic; ``None`` where the task is neither alone."""
    prompt: str
    """The user's text, exactly as it is asked, options included."""
    kind: str
    """One of ``KINDS``: how the answer is read and scored."""
    reference: str
    """What is right: one of ``labels``, the transcript, or what the judge is told."""
    cluster: str
    """Source clip or speaker: items that share one are not independent."""
    audios: tuple[Reader, ...] = field(compare=False, repr=False)
    """Each gives float32 [n], mono at 16 kHz, or raises ``AudioError``."""
    background: str = ""
    """The clip behind it, where several items share one; empty where that is its cluster."""
    choices: tuple[str, ...] = ()
    """The options in the order of their letters, or the closed vocabulary."""
    labels: tuple[str, ...] = ()
    """What each choice counts as in F1 scores: its letter, or its text where texts recur."""
    system: str | None = None
    """Replaces the chat template's own system prompt."""
    max_new_tokens: int = 40
    judge: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """What an outside judge needs besides the answer."""
    where: str = field(default="", compare=False, repr=False)
    """File and line of a manifest, for messages."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.id}: kind is {self.kind!r}; expected {', '.join(KINDS)}")
        if not self.audios:
            raise ValueError(f"{self.id}: an item needs at least one recording")
        if self.kind not in (CHOICE, LABEL):
            return
        if len(self.labels) != len(self.choices):
            raise ValueError(f"{self.id}: needs as many labels as choices")
        if self.reference not in self.labels:
            raise ValueError(f"{self.id}: {self.reference!r} is none of its labels {self.labels}")

    @property
    def answers(self) -> tuple[str, ...]:
        """What the model would have to say for each choice: its letter, or its text."""
        return letters(self.choices) if self.kind == CHOICE else self.choices

    def read(self, max_seconds: float = math.inf) -> list[np.ndarray]:
        """Read every recording.

        Raises:
            AudioError: the first that cannot be decoded, or is longer than ``max_seconds``.
        """
        return [audio(max_seconds=max_seconds) for audio in self.audios]


@dataclass(frozen=True)
class Fault:
    """An entry of a set that could not be asked, or an item whose audio could not be decoded."""

    id: str
    task: str
    reason: str


@dataclass(frozen=True)
class Dataset:
    """A set of items, and everything that the set should hold and does not."""

    name: str
    items: tuple[Item, ...]
    faults: tuple[Fault, ...] = ()
    excluded: tuple[Fault, ...] = ()
    """Left out by a rule of the set itself, which the reason names."""
    expected: Mapping[str, int] = field(default_factory=dict)
    """Published number of items of each task, where one is known."""

    def __post_init__(self) -> None:
        twice = [
            name for name, count in Counter(item.id for item in self.items).items() if count > 1
        ]
        if twice:
            raise ValueError(f"{self.name}: two items are called {twice[0]!r}")

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that have items or should have some, in the order of the set."""
        return tuple(dict.fromkeys([*self.expected, *(item.task for item in self.items)]))

    def report(self, later: Sequence[Fault] = ()) -> dict[str, Any]:
        """Say how complete the set is, for results and tables.

        Args:
            later: faults found while running, as of audio that cannot be decoded; each is of one of
                the items.

        Returns:
            JSON-ready: ``complete``, per task ``items`` (that could be asked), ``faults``,
            ``excluded`` and ``expected`` (``None`` where unknown), and by name every fault and
            everything that was left out.
        """
        faults = [*self.faults, *later]
        asked = Counter(item.task for item in self.items)
        asked.subtract(fault.task for fault in later)
        faulty = Counter(fault.task for fault in faults)
        left_out = Counter(fault.task for fault in self.excluded)
        tasks = {
            task: {
                "items": asked[task],
                "faults": faulty[task],
                "excluded": left_out[task],
                "expected": self.expected.get(task),
            }
            for task in dict.fromkeys([*self.tasks, *faulty])
        }
        return {
            "name": self.name,
            "complete": not faults and all(map(_complete, tasks.values())),
            "tasks": tasks,
            "faults": [asdict(fault) for fault in faults],
            "excluded": [asdict(fault) for fault in self.excluded],
        }


def _complete(task: Mapping[str, int | None]) -> bool:
    """Whether a task has the published number of items, counted before or after exclusions."""
    items, excluded = task["items"], task["excluded"]
    assert items is not None
    assert excluded is not None
    return task["expected"] in (None, items, items + excluded)


def letters(choices: Sequence[str]) -> tuple[str, ...]:
    """The letters A, B, … of the choices. Raises ``ValueError`` where the alphabet ends."""
    if len(choices) > len(ascii_uppercase):
        raise ValueError(f"{len(choices)} choices are more than there are letters")
    return tuple(ascii_uppercase[: len(choices)])
