"""Phi-4-multimodal: queries, keys and values leave one projection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrouter_core.families.attention import Attention, Projection
from headrouter_core.families.base import Family

if TYPE_CHECKING:
    from torch import nn


def _read_attention(layer: nn.Module) -> Attention:
    module: Any = layer.self_attn
    config, fused, head_dim = module.config, module.qkv_proj, module.head_dim
    heads = config.num_attention_heads
    return Attention(
        module=module,
        queries=Projection(fused, fused, heads, head_dim),
        keys=Projection(fused, fused, module.num_key_value_heads, head_dim, heads * head_dim),
        scale=module.scaling,
        window=getattr(config, "sliding_window", None),
    )


FAMILY = Family(
    name="phi4_multimodal",
    model_types=("phi4_multimodal",),
    model_classes=("Phi4MultimodalForCausalLM",),
    tokens_per_second=12.5,
    notes=(
        "Load a revision in transformers' own format (model_type phi4_multimodal), not one that"
        " brings its own code (phi4mm).",
        "Speech needs its LoRA: load_adapter (the commands load speech-lora, where peft is"
        " installed). Queries and keys are read behind it.",
        "Its encoder sees the padding of a batch: ask about one recording at a time.",
        "Released models have a sliding window of 262,144 tokens, which no audio here reaches.",
    ),
    read_attention=_read_attention,
)
