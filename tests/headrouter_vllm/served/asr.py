"""A tiny random Qwen3-ASR, as transformers writes it, of a shape that vLLM's kernels take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
import transformers as tf

from ...calibrate.tiny_checkpoints import make_tokenizer
from ...calibrate.tiny_kits import KITS

HEADS = 4
ENCODER = {
    "num_mel_bins": 128,
    "d_model": 64,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "output_dim": 128,
    "downsample_hidden_size": 16,
}
DECODER = {
    "hidden_size": 128,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 4096,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
    # vLLM takes the released checkpoints' three axes from here; transformers, where they are always
    # alike, has one
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "mrope_section": [8, 4, 4],
        "mrope_interleaved": True,
    },
}


@torch.no_grad()
def sharpen(decoder: torch.nn.Module) -> None:
    """Make a random decoder such that what is attended to, and from where, counts."""
    for name, weight in decoder.named_parameters():
        if "_proj.weight" in name:
            weight *= 6


def write(folder: Path) -> Path:
    """Write the checkpoint and return its folder."""
    # tokens as the released ones are written: some of vLLM's endpoints write them themselves
    plain = KITS["qwen3_asr"]
    names = {"audio": "<|audio_pad|>", "begin": "<|audio_start|>", "end": "<|audio_end|>"}
    template = plain.template
    for name, token in names.items():
        template = template.replace(getattr(plain, name), token)
    kit = replace(plain, **names)
    tokenizer = make_tokenizer(kit)
    pad, begin, end = tokenizer.convert_tokens_to_ids([kit.audio, kit.begin, kit.end])
    config = tf.Qwen3ASRConfig(
        audio_config=ENCODER,
        text_config={**DECODER, "vocab_size": max(tokenizer.get_vocab().values()) + 1},
        audio_token_id=pad,
        audio_start_token_id=begin,
        audio_end_token_id=end,
    )
    torch.manual_seed(0)
    model = tf.Qwen3ASRForConditionalGeneration(config).float()
    sharpen(model.model.language_model)
    model.save_pretrained(folder)
    extractor = tf.Qwen3ASRFeatureExtractor(feature_size=128)
    tf.Qwen3ASRProcessor(extractor, tokenizer, chat_template=template).save_pretrained(folder)
    return folder
