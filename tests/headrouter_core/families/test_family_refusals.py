"""What no family can prune is refused with the reason."""

from __future__ import annotations

import pytest
import torch
import transformers
from torch import nn
from transformers import CONFIG_MAPPING

from headrouter_core import families
from headrouter_core.errors import UnsupportedModelError
from headrouter_core.families.discovery import find_decoder

from ..tiny import models as tiny_models
from ..tiny.families import decoder_layers


def refuse(thinker: nn.Module, reason: str) -> None:
    with pytest.raises(UnsupportedModelError, match=reason):
        families.locate(thinker)


@pytest.mark.parametrize(
    ("model_type", "reason"),
    [
        ("whisper", "it is an encoder-decoder"),
        ("nemotron_h_omni", "layers of type linear_attention.* changes a recurrent"),
        ("inkling_mm_model", "layers of type hybrid, hybrid_sliding"),
        ("deepseek_v3", "multi-head latent attention"),
        ("voxtral_realtime", "VoxtralRealtimeConfig names no audio_token_id"),
        ("llama", "LlamaConfig names no audio_token_id"),
        ("higgs_audio_v2", "is of no known family"),
    ],
)
def test_other_architectures_are_refused_with_the_reason(model_type: str, reason: str) -> None:
    if model_type not in CONFIG_MAPPING:
        pytest.skip(f"transformers {transformers.__version__} has no {model_type}")
    other = nn.Module()
    other.config = CONFIG_MAPPING[model_type]()
    refuse(other, rf"\(model_type '{model_type}'\) .*{reason}.*; known families: qwen2_5_omni, ")


def test_what_cannot_be_pruned_is_refused_with_the_reason() -> None:
    refuse(nn.Linear(1, 1), "Linear .*None.* no known family")
    thinker = tiny_models.thinker
    part = thinker()
    part.generate = None
    refuse(part, "has no generate; pass the model")

    missing = thinker()
    del find_decoder(missing).norm
    refuse(missing, "no text model with embed_tokens, layers and norm")

    recurrent = thinker()
    find_decoder(recurrent).config.layer_types = ["linear_attention"] * 6
    refuse(recurrent, "layers of type linear_attention")

    deaf = thinker()
    deaf.config = deaf.config.text_config
    deaf.config.model_type = "qwen2_5_omni_thinker"
    refuse(deaf, "names no audio_token_id")

    latent = thinker()
    del decoder_layers(latent)[4].self_attn.k_proj
    refuse(latent, "no self_attn with q_proj and k_proj")

    class Other(nn.Module):
        def forward(self, hidden_states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return hidden_states

    other = thinker()
    decoder_layers(other)[0] = Other()
    refuse(other, "Other takes no attention_mask, position_embeddings")
