"""What a model says with one choice of audio tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class Batch:
    """How long the choices that were asked together took, divided by how many they were."""

    replay_seconds: float
    """Layers from M on over the prompt."""
    decode_seconds: float
    """All that came after the prompt."""


@dataclass(frozen=True)
class Heard:
    """How much of an item's sound the model was given."""

    seconds: float
    """Of audio, which the encoder heard."""
    audio_tokens: int
    """Which the encoder made, and the layers before M saw."""
    kept: int
    """Of these, which the others saw."""


@dataclass(frozen=True, eq=False)
class Reply:
    """What the model says with one choice of tokens."""

    text: str
    complete: bool
    """Whether the answer ended by itself, not at the limit of new tokens."""
    ids: torch.Tensor
    """LongTensor [n]: the answer's tokens, its end included."""
    logits: tuple[torch.Tensor, ...]
    """Of each given text, float32 [n, vocabulary]: what predicts its n tokens."""
    heard: Heard
    batch: Batch
    """The same object for all choices that were asked together."""
