"""tiny-omni's parts: Qwen2.5-Omni's thinker in small, an own tokenizer, Whisper's features."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, cast

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen2Tokenizer,
    WhisperFeatureExtractor,
)

from tiny_omni.vocabulary import SYSTEM

VOCABULARY = 1024
#: The special tokens of Qwen2.5-Omni, in its order.
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|AUDIO|>",
    "<|audio_bos|>",
    "<|audio_eos|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_bos|>",
    "<|vision_eos|>",
    "<|vision_pad|>",
    "<|IMAGE|>",
    "<|VIDEO|>",
)
#: Qwen's chat format, audio and text only.
CHAT_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\n"
    + SYSTEM
    + "<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer(corpus: Iterable[str]) -> Qwen2Tokenizer:
    """A byte-level BPE of 1,024 tokens trained on ``corpus``: any text can be encoded."""
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL),
        min_frequency=1,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(corpus, trainer)
    state: dict[str, Any] = json.loads(bpe.to_str())["model"]
    merges: Any = [tuple(pair) for pair in state["merges"]]  # declared as strings, read as pairs
    none: Any = None  # declared as a string, and any text can be encoded
    tokenizer = Qwen2Tokenizer(
        vocab=state["vocab"],
        merges=merges,
        unk_token=none,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens={
            "image_token": "<|IMAGE|>",
            "audio_token": "<|AUDIO|>",
            "video_token": "<|VIDEO|>",
            "vision_bos_token": "<|vision_bos|>",
            "vision_eos_token": "<|vision_eos|>",
            "audio_bos_token": "<|audio_bos|>",
            "audio_eos_token": "<|audio_eos|>",
        },
        model_max_length=2048,
    )
    tokenizer.add_tokens(list(SPECIAL), special_tokens=True)
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_feature_extractor() -> WhisperFeatureExtractor:
    """Qwen2.5-Omni's features (128 mel bins, 10 ms), for audio of at most 30 s."""
    return WhisperFeatureExtractor(feature_size=128, chunk_length=30, return_attention_mask=True)


def make_config(tokenizer: Qwen2Tokenizer) -> Qwen2_5OmniThinkerConfig:
    """About 7 M parameters: encoder 4 x 192, decoder 6 x 256 with 16 query and 2 kv heads."""

    def token(name: str) -> int:
        return cast(int, tokenizer.convert_tokens_to_ids(name))

    config = Qwen2_5OmniThinkerConfig(
        audio_config={
            "num_mel_bins": 128,
            "encoder_layers": 4,
            "encoder_attention_heads": 6,
            "encoder_ffn_dim": 768,
            "d_model": 192,
            "n_window": 100,
            "output_dim": 256,
        },
        # the class insists on a vision tower; it is never called, so it is as small as it can be
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "patch_size": 4,
            "out_hidden_size": 256,
            "fullatt_block_indexes": [0],
        },
        text_config={
            "vocab_size": VOCABULARY,
            "hidden_size": 256,
            "intermediate_size": 768,
            "num_hidden_layers": 6,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "max_position_embeddings": 2048,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [2, 3, 3],
            },
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "tie_word_embeddings": False,
        },
        audio_token_index=token("<|AUDIO|>"),
        image_token_index=token("<|IMAGE|>"),
        video_token_index=token("<|VIDEO|>"),
        audio_start_token_id=token("<|audio_bos|>"),
        audio_end_token_id=token("<|audio_eos|>"),
        user_token_id=token("user"),
        tie_word_embeddings=False,
    )
    # read by the position code for images, absent from the config class
    config.vision_start_token_id = token("<|vision_bos|>")
    config.vision_end_token_id = token("<|vision_eos|>")
    config.vision_token_id = token("<|vision_pad|>")
    config.pad_token_id = tokenizer.pad_token_id
    return config


def make_model(tokenizer: Qwen2Tokenizer, seed: int) -> Qwen2_5OmniThinkerForConditionalGeneration:
    """A randomly initialised tiny-omni, float32, seeded."""
    torch.manual_seed(seed)
    model = Qwen2_5OmniThinkerForConditionalGeneration(make_config(tokenizer))
    _widen(model)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


@torch.no_grad()
def _widen(model: Qwen2_5OmniThinkerForConditionalGeneration) -> None:
    """Scale the initial weights to this width.

    The library's standard deviation of 0.02 is meant for widths of thousands: here it would let the
    audio enter the encoder at a twentieth of the size of its position codes.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.Conv1d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=0.7 * module.in_features**-0.5)
