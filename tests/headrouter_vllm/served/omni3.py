"""A tiny random Qwen3-Omni, as transformers writes it, of a shape that vLLM's kernels take."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers as tf

from ...calibrate.tiny_checkpoints import make_tokenizer
from ...calibrate.tiny_kits import KITS
from . import asr

_VISION = {
    "depth": 2,
    "hidden_size": 64,
    "num_heads": 2,
    "intermediate_size": 64,
    "out_hidden_size": 128,
    "patch_size": 16,
    # which vLLM has to be told, and transformers has no names for
    "image_size": 768,
    "apply_vit_abs_pos_embed": True,
    "deepstack_visual_indexes": [0, 1],
}


def write(folder: Path) -> Path:
    """Write the checkpoint and return its folder."""
    kit = KITS["qwen3_omni_moe"]
    tokenizer = make_tokenizer(kit)
    seen = ("<|image|>", "<|video|>", "<|vision_bos|>", "<|vision_eos|>")
    pad, begin, end, image, video, opened, closed = tokenizer.convert_tokens_to_ids(
        [kit.audio, kit.begin, kit.end, *seen]
    )
    text = {
        **asr.DECODER,
        "vocab_size": max(tokenizer.get_vocab().values()) + 1,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "tie_word_embeddings": False,
    }
    thinker = {
        "text_config": text,
        "audio_config": asr.ENCODER,
        "vision_config": _VISION,
        "audio_token_id": pad,
        "audio_start_token_id": begin,
        "audio_end_token_id": end,
        "image_token_id": image,
        "video_token_id": video,
        "vision_start_token_id": opened,
        "vision_end_token_id": closed,
        "position_id_per_seconds": 13,
    }
    config = tf.Qwen3OmniMoeConfig(thinker_config=thinker, enable_audio_output=False)
    torch.manual_seed(0)
    model = tf.Qwen3OmniMoeForConditionalGeneration(config).float()
    asr.sharpen(model.thinker.model)
    model.save_pretrained(folder)
    sides = {"shortest_edge": 64 * 64, "longest_edge": 128 * 128}
    pictures = {"patch_size": 16, "temporal_patch_size": 2, "merge_size": 2, "size": sides}
    tf.Qwen3OmniMoeProcessor(
        tf.Qwen2VLImageProcessor(**pictures),
        tf.Qwen2VLVideoProcessor(**pictures),
        tf.WhisperFeatureExtractor(feature_size=128),
        tokenizer,
        chat_template=kit.template,
    ).save_pretrained(folder)
    return folder
