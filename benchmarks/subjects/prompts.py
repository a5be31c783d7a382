"""Prompts of a given length: synthetic embeddings, and noise for the front end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import WhisperFeatureExtractor

from benchmarks.subjects.shapes import FRONT_END_SECONDS, TOKENS_PER_SECOND, Shape

#: Text tokens before the audio (system prompt, turn) and behind it (a question, turn).
TEXT_BEFORE, TEXT_BEHIND = 40, 24
#: Standard deviation of the embeddings: what the weights are drawn with, too.
_DEVIATION = 0.02
_SAMPLE_RATE = 16_000


@dataclass(frozen=True, eq=False)
class Prompt:
    """Rows of equal length: text, one audio, text."""

    input_ids: torch.Tensor
    """LongTensor [B, L]."""
    inputs_embeds: torch.Tensor
    """[B, L, D]."""
    audio_tokens: int
    """N_a of each row."""
    audio_begin: int = TEXT_BEFORE + 1
    """Column of the first audio token."""

    @property
    def length(self) -> int:
        """L."""
        return self.input_ids.shape[1]

    @property
    def inputs(self) -> dict[str, torch.Tensor]:
        """What the model is given."""
        return {"input_ids": self.input_ids, "inputs_embeds": self.inputs_embeds}


def input_ids(shape: Shape, audio_tokens: int, seed: int) -> torch.Tensor:
    """Return the ids [1, L] of a prompt with so many audio tokens; its text is drawn."""
    tokens = shape.tokens
    # below all special tokens of the released vocabularies, above those of the small ones
    low, high = 100, min(100_000, shape.text["vocab_size"])
    generator = torch.Generator().manual_seed(seed)
    text = torch.randint(low, high, (TEXT_BEFORE + TEXT_BEHIND,), generator=generator).tolist()
    audio = [tokens["audio_token_index"]] * audio_tokens
    ids = [
        *text[:TEXT_BEFORE],
        tokens["audio_start_token_id"],
        *audio,
        tokens["audio_end_token_id"],
        *text[TEXT_BEFORE:],
    ]
    return torch.tensor([ids])


def synthetic(
    shape: Shape, seconds: float, device: torch.device, seed: int, batch: int = 1
) -> Prompt:
    """Return a prompt with the audio tokens of so many seconds, its embeddings drawn.

    ``batch`` rows of it have the same ids and other embeddings.
    """
    audio_tokens = round(seconds * TOKENS_PER_SECOND)
    ids = input_ids(shape, audio_tokens, seed).repeat(batch, 1).to(device)
    generator = torch.Generator(device).manual_seed(seed)
    size = (*ids.shape, shape.text["hidden_size"])
    dtype = getattr(torch, shape.dtype)
    embeds = torch.randn(size, generator=generator, device=device, dtype=dtype) * _DEVIATION
    return Prompt(ids, embeds, audio_tokens)


def fits_front_end(seconds: float) -> bool:
    """Whether the processor takes so much audio whole."""
    return seconds <= FRONT_END_SECONDS


def recording(seconds: float, seed: int) -> np.ndarray:
    """Return noise, float32 [n] at 16 kHz."""
    generator = np.random.default_rng(seed)
    return generator.standard_normal(round(seconds * _SAMPLE_RATE), dtype=np.float32) / 10


class FrontEnd:
    """Makes inputs of recordings as Qwen2.5-Omni's processor does, its tokenizer apart.

    The features are padded to 300 s however long the recording is: that is what the processor does.
    Text tokens are drawn: no tokenizer is at hand, and it takes no time beside the features.
    """

    def __init__(self, shape: Shape, seed: int) -> None:
        self._shape = shape
        self._seed = seed
        self._extractor: Any = WhisperFeatureExtractor(
            feature_size=shape.audio["num_mel_bins"],
            chunk_length=FRONT_END_SECONDS,
            sampling_rate=_SAMPLE_RATE,
            return_attention_mask=True,
        )

    def inputs(self, recording: np.ndarray, device: torch.device) -> dict[str, Any]:
        """Return the model's inputs for a recording, on a device, in the shape's dtype."""
        features = self._extractor(
            [recording],
            sampling_rate=_SAMPLE_RATE,
            padding="max_length",
            return_attention_mask=True,
            return_tensors="pt",
        )
        frames = int(features["attention_mask"].sum())
        audio_tokens = (((frames - 1) // 2 + 1) - 2) // 2 + 1
        ids = input_ids(self._shape, audio_tokens, self._seed)
        return {
            "input_ids": ids.to(device),
            "attention_mask": torch.ones_like(ids).to(device),
            "input_features": features["input_features"].to(
                device, getattr(torch, self._shape.dtype)
            ),
            "feature_attention_mask": features["attention_mask"].to(device),
        }
