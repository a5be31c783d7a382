"""Tiny, randomly initialised models of real architectures, and prompts for them."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    Qwen2_5OmniConfig,
    Qwen2_5OmniForConditionalGeneration,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
)

AUDIO, BEGIN, END, PAD, EOS = 90, 91, 92, 0, 1
VOCABULARY = 120
MELS = 8

TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCABULARY,
    "pad_token_id": PAD,
    "eos_token_id": EOS,
    "max_position_embeddings": 512,
    "initializer_range": 0.1,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "mrope_section": [2, 3, 3],
    },
}


def thinker_config(**text: Any) -> Qwen2_5OmniThinkerConfig:
    """Return the configuration of a Qwen2.5-Omni thinker of 6 layers."""
    config = Qwen2_5OmniThinkerConfig(
        audio_config={
            "num_mel_bins": MELS,
            "encoder_layers": 1,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "d_model": 32,
            "n_window": 50,
            "output_dim": TEXT["hidden_size"],
            "max_source_positions": 50,
        },
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "num_heads": 2,
            "intermediate_size": 16,
            "out_hidden_size": TEXT["hidden_size"],
            "fullatt_block_indexes": [0],
        },
        text_config={**TEXT, **text},
        audio_token_index=AUDIO,
        audio_start_token_id=BEGIN,
        audio_end_token_id=END,
        image_token_index=95,
        video_token_index=96,
        user_token_id=97,
        initializer_range=0.1,
    )
    config.vision_start_token_id = 98
    config.vision_end_token_id = 99
    config.pad_token_id = PAD
    return config


def thinker(attention: str = "sdpa", **text: Any) -> Qwen2_5OmniThinkerForConditionalGeneration:
    """Return a Qwen2.5-Omni thinker with a real (tiny) audio tower."""
    torch.manual_seed(0)
    config = thinker_config(**text)
    config._attn_implementation = attention
    model = Qwen2_5OmniThinkerForConditionalGeneration(config).eval()
    model.generation_config.pad_token_id = PAD
    model.generation_config.eos_token_id = None
    with torch.no_grad():  # biases are initialised to zero, which would hide what they do
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.1)
    return model


def full(attention: str = "sdpa") -> Qwen2_5OmniForConditionalGeneration:
    """Return a full Qwen2.5-Omni; its talker is a stub, as it must never be reached."""
    torch.manual_seed(0)
    config = Qwen2_5OmniConfig(thinker_config=thinker_config().to_dict(), enable_audio_output=False)
    config._attn_implementation = attention
    model = Qwen2_5OmniForConditionalGeneration(config).eval()
    model.thinker.load_state_dict(thinker().state_dict())
    return model


def frames(audio_tokens: int) -> int:
    """Return how many mel frames the audio tower turns into so many tokens."""
    return 4 * audio_tokens


def row(*parts: int | str, seed: int = 0) -> list[int]:
    """Return input ids: a number n is an audio of n tokens, a string as much text as letters."""
    generator = torch.Generator().manual_seed(seed)
    ids: list[int] = []
    for part in parts:
        if isinstance(part, int):
            ids += [BEGIN, *[AUDIO] * part, END]
        else:
            ids += torch.randint(2, 80, (len(part),), generator=generator).tolist()
    return ids


def batch(rows: list[list[int]], side: str = "left", seed: int = 0) -> dict[str, torch.Tensor]:
    """Return model inputs for rows of ids, padded on ``side``, with random audio features."""
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), PAD)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for index, content in enumerate(rows):
        start = longest - len(content) if side == "left" else 0
        ids[index, start : start + len(content)] = torch.tensor(content)
        mask[index, start : start + len(content)] = 1
    inputs = {"input_ids": ids, "attention_mask": mask}
    lengths = [n for content in rows for n in audio_lengths(content)]
    if lengths:
        generator = torch.Generator().manual_seed(seed)
        widest = frames(max(lengths))
        features = torch.randn(len(lengths), MELS, widest, generator=generator)
        present = torch.arange(widest) < torch.tensor([[frames(n)] for n in lengths])
        inputs["input_features"] = features
        inputs["feature_attention_mask"] = present.long()
    return inputs


def audio_lengths(ids: list[int]) -> list[int]:
    """Return the number of audio tokens of each audio in a row."""
    lengths, count = [], 0
    for token in [*ids, PAD]:
        if token == AUDIO:
            count += 1
        elif count:
            lengths.append(count)
            count = 0
    return lengths
