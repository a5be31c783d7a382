"""Conversations without audio: training keeps SmolLM2's answers to them as they are.

The prompts are made from patterns and topics; the replies are the untrained model's own.
"""

from __future__ import annotations

import itertools
import random

import torch

from small_omni.recipe.trainee import Trainee

_TOPICS = (
    "bread", "the moon", "bicycles", "winter", "a small garden", "coffee", "the ocean", "trains",
    "honesty", "chess", "birds", "the human heart", "maps", "rice", "mountains", "a good sleep",
    "libraries", "glass", "volcanoes", "friendship", "computers", "tea", "ancient Rome", "football",
    "wood", "electricity", "cats", "a city at night", "mathematics", "the wind",
)  # fmt: skip
_PATTERNS = (
    "Tell me something about {}.",
    "Write two sentences about {}.",
    "What should everybody know about {}?",
    "Make a list of three facts about {}.",
    "Explain to a child why {} can matter.",
    "Write a short poem about {}.",
    "Which words come to mind when you think of {}?",
    "How would you begin a story about {}?",
    "Translate into French: I like {}.",
    "Write an email to a friend that mentions {}.",
)
#: Most tokens of a reply that are compared.
_LONGEST = 48


def prompts(count: int) -> list[str]:
    """Prompts to keep answering as before, in an order of their own."""
    made = [pattern.format(topic) for pattern, topic in itertools.product(_PATTERNS, _TOPICS)]
    return random.Random("texts").sample(made, count)


@torch.inference_mode()
def replies(trainee: Trainee, asked: list[str]) -> list[list[int]]:
    """The untrained model's greedy replies as token ids: call it before the first step."""
    told = []
    for start in range(0, len(asked), 20):
        batch = trainee.tokenizer(
            [chat(trainee, prompt) for prompt in asked[start : start + 20]],
            padding=True,
            padding_side="left",
            return_tensors="pt",
        ).to(trainee.omni.device)
        out = trainee.omni.generate(**batch, max_new_tokens=_LONGEST, do_sample=False)
        for row in out[:, batch["input_ids"].shape[1] :].tolist():
            end = trainee.tokenizer.eos_token_id
            told.append(row[: row.index(end) + 1] if end in row else row)
    return told


def chat(trainee: Trainee, prompt: str) -> str:
    """A prompt in the chat format, up to where the answer begins."""
    asked = [{"role": "user", "content": prompt}]
    return str(
        trainee.tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    )


def conversations(
    trainee: Trainee, texts: list[tuple[str, list[int]]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids [B, L] of prompts with replies, padded right, and what :meth:`Trainee.drift` counts."""
    rows = [trainee.tokenizer(chat(trainee, prompt))["input_ids"] for prompt, _ in texts]
    length = max(len(row) + len(reply) for row, (_, reply) in zip(rows, texts, strict=True)) - 1
    ids = torch.full((len(rows), length), trainee.tokenizer.pad_token_id)
    counted = torch.zeros(len(rows), length, dtype=torch.bool)
    for number, (row, (_, reply)) in enumerate(zip(rows, texts, strict=True)):
        whole = torch.tensor(row + reply[:-1])
        ids[number, : len(whole)] = whole
        counted[number, len(row) - 1 : len(whole)] = True
    return ids, counted
