"""How well tiny-omni answers while it is trained: its share of exact answers, task by task."""

from __future__ import annotations

from collections import defaultdict

import torch

from tiny_omni.batches import IGNORE, Packer
from tiny_omni.clips import Bank
from tiny_omni.questions import TASKS, questions
from tiny_omni.scenes import compose
from tiny_omni.trainee import Trainee, mixed_precision


@torch.inference_mode()
def validate(
    trainee: Trainee, split: str, seconds: float, device: torch.device
) -> dict[str, float]:
    """Exact-answer accuracy per task on ``split``: greedy decoding is right where each step is."""
    trainee.eval()
    bank, packer = Bank.of(split), Packer(trainee.tokenizer)
    hits: dict[str, list[bool]] = defaultdict(list)
    for number in range(10):
        needs = [need for task in TASKS.values() for need in task.needs]
        scenes = [
            compose(bank, f"validation/{number}/{need}", seconds, need=need) for need in needs
        ]
        asked = [questions(scene, f"validation/{number}") for scene in scenes]
        batch = packer(scenes, asked).to(device)
        with mixed_precision(device):
            _, right, _ = trainee.answers(trainee.encode(batch), batch)
        wanted = (batch.labels != IGNORE).nonzero().tolist()
        whole: dict[tuple[int, int], bool] = {}
        for (row, column), ok in zip(wanted, right.tolist(), strict=True):
            key = (row, int(batch.segments[row, column]))
            whole[key] = whole.get(key, True) and ok
        for (row, segment), ok in whole.items():
            hits[batch.tasks[row][segment - 1]].append(ok)
    trainee.train()
    return {task: sum(hits[task]) / len(hits[task]) for task in TASKS if hits[task]}
