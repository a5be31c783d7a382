"""Qwen3-Omni-MoE: the thinker, alone or inside the full model with talker and vocoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrouter_core.families.base import Family, has_pictures
from headrouter_core.families.qwen2_5_omni import thinker


def _speaks(kwargs: Mapping[str, Any]) -> bool:
    wanted = kwargs.get("return_audio")
    if wanted is None:
        wanted = kwargs.get("generation_mode") != "text"
    return bool(wanted)


def _obstacle(root: Any, call: Mapping[str, Any], layer: int) -> str | None:
    """Features of pictures are added behind the first layers, at columns of the whole prompt."""
    deep = len(root.config.vision_config.deepstack_visual_indexes)
    if has_pictures(call) and layer < deep:
        return f"pictures are added up to layer {deep - 1}; prune at layer {deep} or later"
    return None


FAMILY = Family(
    name="qwen3_omni_moe",
    model_types=("qwen3_omni_moe", "qwen3_omni_moe_thinker"),
    model_classes=(
        "Qwen3OmniMoeForConditionalGeneration",
        "Qwen3OmniMoeThinkerForConditionalGeneration",
    ),
    tokens_per_second=13,
    rate_note="13 for each whole second, one for each 80 ms begun of the rest",
    notes=(
        "Speech output is refused: the talker reads states of all tokens.",
        "With pictures, prune behind the layers that their features are added to.",
    ),
    vllm="exact",
    root=thinker,
    speech=_speaks,
    # the configuration names the begin of audio only; the tokenizer has the end behind it
    markers=lambda config: (config.audio_start_token_id + 1,),
    obstacle=_obstacle,
)
