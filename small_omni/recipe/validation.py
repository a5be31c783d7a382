"""How good a model in training is: tiny-omni's tasks on scenes of unseen clips."""

from __future__ import annotations

from collections import defaultdict

import torch

from small_omni.recipe.trainee import Trainee
from small_omni.recipe.updating import right_answers
from tiny_omni.batches import Packer
from tiny_omni.clips import Bank
from tiny_omni.questions import TASKS, questions
from tiny_omni.scenes import compose

#: The kinds that scenes take turns to hold, so that every task is asked about equally often.
_NEEDS = ("digits", "keyword", "german", "event", "bed", "instrument", "english", "german")


@torch.inference_mode()
def validate(trainee: Trainee, seconds: float, scenes: int, *, batch: int = 4) -> dict[str, float]:
    """Share of exact answers per task to all questions about ``scenes`` calibration scenes.

    Teacher-forced: greedy decoding gives an answer exactly where its every token is the likeliest.
    ``mean`` is over the tasks, ``questions`` how many there were.
    """
    device = trainee.omni.device
    bank, packer = Bank.of("calibration"), Packer(trainee.tokenizer)
    hits: dict[str, list[bool]] = defaultdict(list)
    training = trainee.training
    trainee.eval()
    for start in range(0, scenes, batch):
        numbers = range(start, min(start + batch, scenes))
        part = [
            compose(bank, f"validation/{i}", seconds, need=_NEEDS[i % len(_NEEDS)]) for i in numbers
        ]
        asked = [
            questions(scene, f"validation/{i}") for i, scene in zip(numbers, part, strict=True)
        ]
        packed = packer(part, asked).to(device)
        _, right = trainee.answers(trainee.encode(packed.samples), packed)
        for task, answers in right_answers(packed, right).items():
            hits[task] += answers
    trainee.train(training)
    scores = {task: round(sum(hits[task]) / len(hits[task]), 3) for task in TASKS if hits[task]}
    mean = round(sum(scores.values()) / len(scores), 3)
    return {"mean": mean, **scores, "questions": sum(map(len, hits.values()))}
