"""Sizes and ids that tiny models of all families are made of."""

from __future__ import annotations

from typing import Any

from .models import BEGIN, END, EOS, PAD, VOCABULARY

TEXT: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 512,
    "initializer_range": 0.1,
    "pad_token_id": PAD,
    "eos_token_id": EOS,
    "bos_token_id": 2,
}
ENCODER: dict[str, Any] = {
    "num_mel_bins": 8,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
WHISPER: dict[str, Any] = {
    "num_mel_bins": 8,
    "d_model": 32,
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "max_source_positions": 50,
}
TOWER = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
OTHER_IDS = {"image_token_id": 95, "video_token_id": 96}
MARKERS = {"audio_bos_token_id": BEGIN, "audio_eos_token_id": END}
WINDOWS: dict[str, Any] = {
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention"] * 2,
    "sliding_window": 9,
}
#: So that layers of both kinds share keys, and the first to lend them is no earlier than layer 5.
DEEPER = {**WINDOWS, "layer_types": WINDOWS["layer_types"][:3] * 3, "num_hidden_layers": 9}
MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}


def text(model_type: str, **more: Any) -> dict[str, Any]:
    return {"model_type": model_type, **TEXT, **more}
