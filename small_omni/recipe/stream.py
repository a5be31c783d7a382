"""Training batches: what is composed and asked at each step follows from the seed and the step."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.data import IterableDataset

from small_omni.recipe.questions import ask
from small_omni.recipe.talks import Talks
from tiny_omni.batches import Batch, Packer
from tiny_omni.clips import Bank
from tiny_omni.questions import TASKS, Question
from tiny_omni.scenes import compose


@dataclass(frozen=True)
class Shape:
    """How large a step is."""

    seconds: float = 16.0
    """Of audio, all scenes of a step together (one scene may be longer)."""
    questions: int = 4
    """Most of one scene."""


#: Shares of the lengths of scenes, in seconds: at first, and when the short ones are learned.
_SHORT = (((4.0, 7.0), 1.0),)
_ALL = (((4.0, 8.0), 0.45), ((8.0, 12.0), 0.35), ((12.0, 30.0), 0.15), ((30.0, 60.0), 0.05))


#: Questions that nearly every scene answers are drawn less often than the others.
_WEIGHTS = {"background": 0.25, "gender": 0.6, "said": 0.6}
#: Share of scenes in which somebody talks, once the short ones are learned.
_TALKS = 0.35


class Stream(IterableDataset[Batch]):
    """Endless batches from step ``first`` on; before step ``short`` all scenes are short."""

    def __init__(
        self, packer: Packer, *, seed: int, first: int, short: int, shape: Shape, speech: Path
    ) -> None:
        self.packer, self.seed, self.first = packer, seed, first
        self.short, self.shape, self.speech = short, shape, speech

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batch of step ``first``, ``first + 1``, …, spread over the loader's workers."""
        worker = torch.utils.data.get_worker_info()
        at, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        bank = Bank.of("train")
        talks: Talks | None = None
        for step in range(self.first + at, 10**12, stride):
            if step >= self.short and talks is None:
                talks = Talks(self.speech, bank)
            yield self._batch(bank, talks, step)

    def _batch(self, bank: Bank, talks: Talks | None, step: int) -> Batch:
        rng = random.Random(f"{self.seed}/{step}")
        lengths = _SHORT if step < self.short else _ALL
        ((low, high),) = rng.choices([span for span, _ in lengths], [share for _, share in lengths])
        seconds = round(rng.uniform(low, high) / 0.04) * 0.04
        scenes, asked = [], []
        for row in range(max(1, round(self.shape.seconds / seconds))):
            name = f"{self.seed}/{step}/{row}"
            if talks and rng.random() < _TALKS:
                scene, about = talks.compose(name, seconds)
            else:
                need = rng.choice(TASKS[rng.choice(list(TASKS))].needs)
                scene = compose(bank, name, seconds, varied=True, need=need)
                about = ask(scene, name)
            scenes.append(scene)
            asked.append(_drawn(about, self.shape.questions, rng))
        return self.packer(scenes, asked)


def _drawn(about: list[Question], most: int, rng: random.Random) -> list[Question]:
    """At most so many of the questions, by weighted sampling without replacement."""
    keys = [rng.random() ** (1 / _WEIGHTS.get(q.task.partition("/")[0], 1.0)) for q in about]
    ranked = sorted(range(len(about)), key=lambda place: keys[place], reverse=True)
    return [about[place] for place in ranked[:most]]
