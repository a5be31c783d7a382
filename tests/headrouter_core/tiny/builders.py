"""A tiny random model of every family but Qwen2.5-Omni, as its configuration makes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import transformers as tf
from torch import nn

from .models import AUDIO, BEGIN, END, VOCABULARY
from .parts import DEEPER, ENCODER, MARKERS, MROPE, OTHER_IDS, TEXT, TOWER, WHISPER, WINDOWS, text


def qwen2_audio() -> nn.Module:
    return tf.Qwen2AudioForConditionalGeneration(
        tf.Qwen2AudioConfig(
            audio_config=WHISPER, text_config=text("qwen2"), audio_token_index=AUDIO
        )
    )


def phi4_multimodal() -> nn.Module:
    partial = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.75}
    config = tf.Phi4MultimodalConfig(
        **TEXT,
        rope_parameters=partial,
        original_max_position_embeddings=512,
        sliding_window=9,
        vision_config={**TOWER, "crop_size": 28, "image_size": 28},
        audio_config={
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_blocks": 1,
            "num_attention_heads": 2,
            "audio_token_id": AUDIO,
            "ext_pw_out_channel": 32,
            "depthwise_separable_out_channel": 32,
            "nemo_conv_channels": 32,
            "input_size": 8,
        },
    )
    return tf.Phi4MultimodalForCausalLM(config)


def audioflamingo3() -> nn.Module:
    config = tf.AudioFlamingo3Config(
        audio_config={**WHISPER, **ENCODER}, text_config=text("qwen2"), audio_token_id=AUDIO
    )
    return tf.AudioFlamingo3ForConditionalGeneration(config)


def musicflamingo() -> nn.Module:
    config = tf.MusicFlamingoConfig(
        audio_config={"model_type": "audioflamingo3_encoder", **WHISPER, **ENCODER},
        text_config=text("qwen2"),
        audio_token_id=AUDIO,
        **MARKERS,
    )
    return tf.MusicFlamingoForConditionalGeneration(config)


def voxtral() -> nn.Module:
    config = tf.VoxtralConfig(
        audio_config={**WHISPER, **ENCODER}, text_config=text("llama"), audio_token_id=AUDIO
    )
    return tf.VoxtralForConditionalGeneration(config)


def granite(kind: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        config = getattr(tf, f"{kind}Config")(
            encoder_config={
                "input_dim": 8,
                "num_layers": 1,
                "hidden_dim": 32,
                "feedforward_mult": 1,
                "num_heads": 2,
                "dim_head": 16,
                "output_dim": 10,
            },
            projector_config={
                "model_type": "blip_2_qformer",
                **TOWER,
                "encoder_hidden_size": 32,
            },
            text_config=text("granite", attention_multiplier=0.2, logits_scaling=2.0),
            audio_token_index=AUDIO,
        )
        return getattr(tf, f"{kind}ForConditionalGeneration")(config)

    return build


def glmasr() -> nn.Module:
    encoder = {**WHISPER, **ENCODER, "num_key_value_heads": 2, "head_dim": 16}
    config = tf.GlmAsrConfig(audio_config=encoder, text_config=text("llama"), audio_token_id=AUDIO)
    return tf.GlmAsrForConditionalGeneration(config)


def vibevoice_asr() -> nn.Module:
    tokenizer = {"hidden_size": 16, "num_filters": 4, "depths": [1, 1], "downsampling_ratios": [2]}
    config = tf.VibeVoiceAsrConfig(
        text_config=text("qwen2"),
        acoustic_tokenizer_encoder_config=tokenizer,
        semantic_tokenizer_encoder_config=tokenizer,
        audio_token_id=AUDIO,
        **MARKERS,
    )
    return tf.VibeVoiceAsrForConditionalGeneration(config)


def qwen3_asr() -> nn.Module:
    encoder = {**WHISPER, "output_dim": 64, "downsample_hidden_size": 16}
    config = tf.Qwen3ASRConfig(
        audio_config=encoder, text_config=text("qwen3"), audio_token_id=AUDIO
    )
    return tf.Qwen3ASRForConditionalGeneration(config)


def fun_asr_nano() -> nn.Module:
    config = tf.FunAsrNanoConfig(
        audio_config={**ENCODER, "num_hidden_layers": 2, "num_timestamp_prediction_layers": 1},
        adaptor_config={**TOWER, "hidden_size": 64, "intermediate_size": 16},
        text_config=text("qwen3"),
        audio_token_id=AUDIO,
    )
    return tf.FunAsrNanoForConditionalGeneration(config)


def moss_transcribe_diarize() -> nn.Module:
    config = tf.MossTranscribeDiarizeConfig(
        audio_config={**WHISPER, **ENCODER}, text_config=text("qwen3"), audio_token_id=AUDIO
    )
    return tf.MossTranscribeDiarizeForConditionalGeneration(config)


class NoVision(nn.Module):
    """Stands in for a tower that needs a library of its own."""


def gemma3n() -> nn.Module:
    config = tf.Gemma3nConfig(
        text_config={
            **TEXT,
            **DEEPER,
            "num_kv_shared_layers": 2,
            "vocab_size_per_layer_input": VOCABULARY,
            "hidden_size_per_layer_input": 8,
            "altup_num_inputs": 2,
            "laurel_rank": 4,
            "activation_sparsity_pattern": [0.0] * 9,
        },
        audio_config={
            "hidden_size": 32,
            "conf_num_hidden_layers": 1,
            "conf_num_attention_heads": 2,
            "input_feat_size": 8,
            "vocab_size": 8,
            "vocab_offset": 112,
            "sscp_conv_channel_size": [4, 4],
        },
        vision_config={"hidden_size": 32, "vocab_size": 8, "vocab_offset": 104},
        audio_token_id=AUDIO,
        boa_token_id=BEGIN,
        eoa_token_id=END,
        image_token_id=95,
    )
    from transformers.models.gemma3n import modeling_gemma3n

    make = modeling_gemma3n.AutoModel.from_config
    vision = type(config.vision_config)

    def without_vision(config: Any, **kwargs: Any) -> nn.Module:
        return NoVision() if isinstance(config, vision) else make(config, **kwargs)

    with mock.patch.object(modeling_gemma3n.AutoModel, "from_config", without_vision):
        return tf.Gemma3nForConditionalGeneration(config)


def gemma4() -> nn.Module:
    config = tf.Gemma4Config(
        text_config={
            **TEXT,
            **DEEPER,
            "num_kv_shared_layers": 2,
            "vocab_size_per_layer_input": VOCABULARY,
            "hidden_size_per_layer_input": 8,
            "global_head_dim": 32,
        },
        audio_config=TOWER,
        vision_config=TOWER,
        audio_token_id=AUDIO,
        boa_token_id=BEGIN,
        eoa_token_index=END,
        **OTHER_IDS,
    )
    return tf.Gemma4ForConditionalGeneration(config)


def gemma4_unified() -> nn.Module:
    config = tf.Gemma4UnifiedConfig(
        text_config={**TEXT, **WINDOWS},
        audio_config={"audio_embed_dim": 8},
        vision_config={"patch_size": 2, "mm_embed_dim": 8, "mm_posemb_size": 8},
        audio_token_id=AUDIO,
        boa_token_id=BEGIN,
        eoa_token_index=END,
        **OTHER_IDS,
    )
    return tf.Gemma4UnifiedForConditionalGeneration(config)


def muse_spark() -> nn.Module:
    config = tf.MuseSparkConfig(
        text_config={
            **TEXT,
            **WINDOWS,
            "layer_rope_theta": [10000.0, 10000.0, 0.0] * 2,
            "mlp_layer_types": ["dense"] * 6,
            "qk_scale_factor": 1.5,
        },
        audio_config={
            "patch_sizes": [4, 4],
            "hidden_sizes": [8, 16],
            "depths": [1, 1],
            "num_hidden_layers": 2,
            "out_hidden_size": 64,
        },
        vision_config=TOWER,
        audio_token_id=AUDIO,
        out_hidden_size=64,
        projector_hidden_size=32,
        **OTHER_IDS,
    )
    return tf.MuseSparkForConditionalGeneration(config)


def qwen3_omni_moe() -> nn.Module:
    config = tf.Qwen3OmniMoeThinkerConfig(
        text_config={
            **TEXT,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "rope_parameters": {**MROPE, "mrope_interleaved": True},
        },
        audio_config={**WHISPER, "output_dim": 64, "downsample_hidden_size": 16},
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "num_heads": 2,
            "intermediate_size": 16,
            "out_hidden_size": 64,
            "deepstack_visual_indexes": [0],
        },
        audio_token_id=AUDIO,
        audio_start_token_id=BEGIN,
        **OTHER_IDS,
    )
    config.vision_start_token_id, config.vision_end_token_id = 98, 99
    model = tf.Qwen3OmniMoeThinkerForConditionalGeneration(config)
    model.set_experts_implementation("eager")  # the grouped one has no float32 on CPU
    return model


BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "qwen2_audio": qwen2_audio,
    "phi4_multimodal": phi4_multimodal,
    "audioflamingo3": audioflamingo3,
    "musicflamingo": musicflamingo,
    "voxtral": voxtral,
    "granite_speech": granite("GraniteSpeech"),
    "granite_speech_plus": granite("GraniteSpeechPlus"),
    "glmasr": glmasr,
    "vibevoice_asr": vibevoice_asr,
    "qwen3_asr": qwen3_asr,
    "fun_asr_nano": fun_asr_nano,
    "moss_transcribe_diarize": moss_transcribe_diarize,
    "gemma3n": gemma3n,
    "gemma4": gemma4,
    "gemma4_unified": gemma4_unified,
    "muse_spark": muse_spark,
    "qwen3_omni_moe": qwen3_omni_moe,
}
