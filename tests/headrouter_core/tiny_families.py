"""Tiny random models of every family but Qwen2.5-Omni, which has a real audio tower.

Their audio embeddings are put in behind the token embedding: what a decoder sees of a front end.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
import torch
import transformers as tf
from torch import nn

from headrouter_core import families

from .tiny_models import AUDIO, BEGIN, END, EOS, PAD, VOCABULARY

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


class _NoVision(nn.Module):
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
        return _NoVision() if isinstance(config, vision) else make(config, **kwargs)

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


def decoder_layers(model: nn.Module) -> nn.ModuleList:
    """Return the decoder layers, found by what they are and not by the families under test."""
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) >= 6]
    (layers,) = [part for part in lists if hasattr(part[0], "self_attn")]
    return layers


def with_audio(model: nn.Module) -> nn.Module:
    """Give each audio placeholder of a prompt a state of its own on entry to the decoder."""
    seen: list[torch.Tensor] = []
    states = torch.randn(64, TEXT["hidden_size"], generator=torch.Generator().manual_seed(7))

    def see(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        seen[:] = [args[0] if args else kwargs["input_ids"]]

    def put(module: nn.Module, args: Any) -> Any:
        rows, columns = (seen[0] == AUDIO).nonzero(as_tuple=True)
        hidden = args[0].clone()
        hidden[..., rows, columns, :] += states[columns]
        return (hidden, *args[1:])

    model.register_forward_pre_hook(see, with_kwargs=True)
    decoder_layers(model)[0].register_forward_pre_hook(put)
    return model


def skip_lacking(name: str) -> None:
    """Skip the test that runs if the installed transformers has no such family."""
    (family,) = [family for family in families.FAMILIES if family.name == name]
    if reason := family.lacking():
        pytest.skip(reason)


def build(name: str, *, queries: float = 0.1) -> nn.Module:
    """Return a tiny model of a family in eager attention.

    ``queries`` is a factor of Gemma's query norms. Its affinities are not divided by the root of
    the head dimension; those of random weights are so large that the unpruned float32 model itself
    rounds by more than the tolerance: ``test_unscaled_affinities_round_by_more_than_is_allowed``.
    """
    skip_lacking(name)
    torch.manual_seed(0)
    model = BUILDERS[name]().eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.ndim == 1:  # zeros and ones would hide what biases and norms do
                parameter.add_(torch.randn_like(parameter) * 0.1)
            if name.startswith("gemma") and key.endswith("q_norm.weight"):
                parameter.mul_(queries)
    model.generation_config.pad_token_id = PAD
    model.generation_config.eos_token_id = None
    return attend(model, "eager")


def attend(model: nn.Module, attention: str) -> nn.Module:
    """Set the attention of the decoder only: not every encoder has every implementation."""
    for layer in decoder_layers(model):
        layer.self_attn.config._attn_implementation = attention
    return model


def twin(model: nn.Module, attention: str) -> nn.Module:
    """Return a copy in another attention implementation."""
    return attend(copy.deepcopy(model), attention)
