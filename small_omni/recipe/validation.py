"""How good a model in training is: tiny-omni's tasks on scenes of unseen clips."""

from __future__ import annotations

from collections import defaultdict

import torch

from small_omni.recipe.trainee import Trainee
from tiny_omni.batches import IGNORE, Packer
from tiny_omni.clips import Bank
from tiny_omni.questions import TASKS, pose


@torch.inference_mode()
def validate(trainee: Trainee, seconds: float, count: int, *, batch: int = 4) -> dict[str, float]:
    """Exact answers per task, ``count`` questions each, on the calibration split.

    Teacher-forced: greedy decoding gives an answer exactly where its every token is the likeliest.
    """
    device = trainee.omni.device
    bank, packer = Bank.of("calibration"), Packer(trainee.tokenizer)
    posed = [
        pose(bank, task, number, f"validation/{task}/{number}", seconds)
        for number in range(count)
        for task in TASKS
    ]
    hits: dict[str, list[bool]] = defaultdict(list)
    training = trainee.training
    trainee.eval()
    for start in range(0, len(posed), batch):
        part = posed[start : start + batch]
        packed = packer([scene for scene, _, _ in part], [[q] for _, q, _ in part]).to(device)
        _, right = trainee.answers(trainee.encode(packed.samples), packed)
        whole = [True] * len(part)
        rows = (packed.labels != IGNORE).nonzero()[:, 0].tolist()
        for row, ok in zip(rows, right.tolist(), strict=True):
            whole[row] = whole[row] and ok
        for (_, question, _), ok in zip(part, whole, strict=True):
            hits[question.task].append(ok)
    trainee.train(training)
    return {task: round(sum(hits[task]) / count, 3) for task in TASKS}
