"""Tiny random Qwen2-Audio and Audio Flamingo 3, of shapes that vLLM's kernels take."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers as tf
from safetensors.torch import load_file, save_file

from ...calibrate.tiny_checkpoints import make_tokenizer
from ...calibrate.tiny_kits import KITS
from . import asr

_WHISPER = {
    "num_mel_bins": 128,
    "d_model": 64,
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
}
_FLAMINGO = {
    "num_mel_bins": 128,
    "hidden_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}


def write(name: str, folder: Path) -> Path:
    """Write the checkpoint of a family and return its folder."""
    kit = KITS[name]
    tokenizer = make_tokenizer(kit)
    pad = tokenizer.convert_tokens_to_ids(kit.audio)
    text = {
        **{key: value for key, value in asr.DECODER.items() if key != "head_dim"},
        "model_type": "qwen2",
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "vocab_size": max(tokenizer.get_vocab().values()) + 1,
    }
    torch.manual_seed(0)
    extractor = tf.WhisperFeatureExtractor(feature_size=128, return_attention_mask=True)
    if name == "qwen2_audio":
        config = tf.Qwen2AudioConfig(audio_config=_WHISPER, text_config=text, audio_token_index=pad)
        model = tf.Qwen2AudioForConditionalGeneration(config).float()
        processor = tf.Qwen2AudioProcessor(extractor, tokenizer, chat_template=kit.template)
    else:
        config = tf.AudioFlamingo3Config(
            audio_config=_FLAMINGO, text_config=text, audio_token_id=pad
        )
        model = tf.AudioFlamingo3ForConditionalGeneration(config).float()
        processor = tf.AudioFlamingo3Processor(
            extractor,
            tokenizer,
            chat_template=kit.template,
            audio_token=kit.audio,
            max_audio_len=60,  # vLLM rehearses with audio as long as this
        )
    asr.sharpen(model.get_decoder() if hasattr(model, "get_decoder") else model.language_model)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    _name_as_released(folder / "model.safetensors")
    return folder


def _name_as_released(path: Path) -> None:
    """Take one of two ``model`` away that transformers writes, and reads either way."""
    weights = load_file(path)
    named = {name.replace("model.model.", "model."): value for name, value in weights.items()}
    save_file(named, path, metadata={"format": "pt"})
