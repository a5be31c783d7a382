"""Muse Spark: one norm without weights for queries and keys, and a factor for the queries."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from headrouter_core.families.attention import Attention
from headrouter_core.families.base import Anatomy, Family
from headrouter_core.families.discovery import read_attention

if TYPE_CHECKING:
    import torch
    from torch import nn


def _read_attention(layer: nn.Module) -> Attention:
    attention = read_attention(layer)
    module: Any = attention.module
    assert attention.keys is not None

    def normed(states: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = module.qk_norm(states)
        return out

    return replace(
        attention,
        queries=replace(
            attention.queries, after=lambda states: normed(states) * module.qk_scale_factor
        ),
        keys=replace(attention.keys, after=normed),
    )


def _finish(anatomy: Anatomy, hidden: torch.Tensor) -> torch.Tensor:
    root: Any = anatomy.root
    config = root.config.text_config
    logits: torch.Tensor = anatomy.embedding(anatomy.norm(hidden)) * config.output_multiplier
    cap: float = config.final_logit_softcapping
    return (logits / cap).tanh() * cap


FAMILY = Family(
    name="muse_spark",
    model_types=("muse_spark",),
    model_classes=("MuseSparkForConditionalGeneration",),
    tokens_per_second=12.5,
    notes=(
        "Sliding windows (2,048 tokens) are measured in the unpruned prompt; flash attention, which"
        " cannot, is refused for longer ones.",
        "Some layers have no rotary encoding; they are probed all the same.",
    ),
    read_attention=_read_attention,
    finish=_finish,
)
