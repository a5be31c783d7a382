"""The shipped scenes, composed from clips of one split with tiny-omni's questions."""

from __future__ import annotations

import functools

import numpy as np

from calibrate.evaluation.scoring.items import LABEL, TRANSCRIPT, Dataset, Item
from headrouter_core.errors import UsageError
from tiny_omni.clips import Bank
from tiny_omni.questions import TASKS, pose
from tiny_omni.vocabulary import (
    BEDS,
    DIGITS,
    EMOTIONS,
    EVENTS,
    GENDERS,
    INSTRUMENTS,
    KEYWORDS,
    NO_BED,
    SENTENCES,
)

#: Task -> the answers that the model knows; ``digits`` is transcribed.
VOCABULARIES: dict[str, tuple[str, ...]] = {
    "keyword": KEYWORDS,
    "sentence": tuple(SENTENCES.values()),
    "reasoning": DIGITS,
    "event": tuple(EVENTS.values()),
    "background": (*BEDS.values(), NO_BED),
    "instrument": tuple(INSTRUMENTS.values()),
    "emotion": tuple(EMOTIONS.values()),
    "gender": GENDERS,
}


def scenes(seconds: float, per_task: int, split: str = "test") -> Dataset:
    """Pose ``per_task`` questions of every task about scenes of one length.

    The scenes are those of ``python -m tiny_omni.evaluate``: the first ones of a task do not depend
    on how many there are. Each is composed anew when it is read.

    Raises:
        UsageError: the package was installed without the clips of the split.
    """
    try:
        bank = Bank.of(split)
    except FileNotFoundError as error:
        raise UsageError(str(error)) from error
    items = [
        _item(bank, task, index, f"{split}/{task}/{index}", seconds)
        for task in TASKS
        for index in range(per_task)
    ]
    return Dataset(
        f"tiny-omni {split} scenes, {seconds:g} s",
        tuple(items),
        expected=dict.fromkeys(TASKS, per_task),
    )


def _item(bank: Bank, task: str, index: int, name: str, seconds: float) -> Item:
    scene, question, cluster = pose(bank, task, index, name, seconds)
    vocabulary = VOCABULARIES.get(task, ())
    return Item(
        id=f"{seconds:g}s/{name}",
        task=task,
        group=question.group,
        prompt=question.prompt,
        kind=LABEL if vocabulary else TRANSCRIPT,
        reference=question.answer,
        cluster=cluster,
        background=scene.behind(cluster),
        audios=(functools.partial(_samples, bank, task, index, name, seconds),),
        choices=vocabulary,
        labels=vocabulary,
    )


def _samples(
    bank: Bank, task: str, index: int, name: str, seconds: float, *, max_seconds: float
) -> np.ndarray:
    """Compose a scene, as long as it was asked for: what the model takes it finds out itself."""
    return pose(bank, task, index, name, seconds)[0].samples
