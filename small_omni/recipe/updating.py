"""One update of the trained parameters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import nn

from small_omni.recipe.alignment import Words
from small_omni.recipe.texts import conversations
from small_omni.recipe.trainee import Trainee
from tiny_omni.batches import IGNORE, Batch
from tiny_omni.trainee import mixed_precision

#: What the distance of audio embeddings from words counts beside the answers.
ALIGNED = 0.3


def update(
    trainee: Trainee,
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    texts: list[tuple[str, list[int]]],
    rate: float,
    words: Words | None = None,
) -> dict[str, float]:
    """Learn from one batch, and stay close to SmolLM2 on ``texts``, prompts with its replies.

    With ``words``, audio embeddings go on being drawn to the words for what sounds.

    Returns what was seen before the update: losses, and the share of right answers by task.
    """
    device = trainee.omni.device
    batch = batch.to(device)
    with mixed_precision(device):
        embedded = trainee.encode(batch.samples)
        tokens, right = trainee.answers(nn.functional.dropout(embedded, 0.05), batch)
        wanted = batch.labels != IGNORE
        weights = batch.weights[wanted]
        loss = (tokens * weights).sum() / weights.sum()
        seen = {"loss": tokens.mean().item(), "tokens": float(batch.ids.numel())}
        if words is not None:
            labels = {name: rows.flatten() for name, rows in batch.frames.items()}
            aligned, _ = words.loss(embedded.flatten(0, 1), labels)
            loss, seen["aligned"] = loss + ALIGNED * aligned, aligned.item()
        if texts:
            ids, counted = (t.to(device) for t in conversations(trainee, texts))
            drift = trainee.drift(ids, counted)
            loss, seen["drift"] = loss + drift, drift.item()
    loss.backward()
    nn.utils.clip_grad_norm_(parameters.values(), 1.0)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    shares = {task: sum(hits) / len(hits) for task, hits in right_answers(batch, right).items()}
    return seen | shares


def right_answers(batch: Batch, right: torch.Tensor) -> dict[str, list[bool]]:
    """Whether each answer is right in all its tokens, by task; ``right`` [n] has those tokens."""
    wanted = batch.labels != IGNORE
    places = wanted.nonzero()
    whole: dict[tuple[int, int], bool] = {}
    segments = batch.segments[wanted].tolist()
    for row, segment, ok in zip(places[:, 0].tolist(), segments, right.tolist(), strict=True):
        whole[row, segment] = whole.get((row, segment), True) and ok
    by_task: dict[str, list[bool]] = defaultdict(list)
    for (row, segment), ok in whole.items():
        by_task[batch.tasks[row][segment - 1]].append(ok)
    return by_task
