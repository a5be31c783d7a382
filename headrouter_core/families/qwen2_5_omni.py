"""Qwen2.5-Omni: the thinker, alone or inside the full model with talker and vocoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from headrouter_core.families.base import Family

if TYPE_CHECKING:
    from torch import nn


def thinker(model: nn.Module) -> nn.Module:
    """Return the thinker of a full model, and a thinker as it is."""
    inner: nn.Module = getattr(model, "thinker", model)
    return inner


def speaks(kwargs: Mapping[str, Any]) -> bool:
    """Whether ``generate`` of a full model would go on to speech, as it does unless told not to."""
    return kwargs.get("generation_mode") not in ("text", False)


FAMILY = Family(
    name="qwen2_5_omni",
    model_types=("qwen2_5_omni", "qwen2_5_omni_thinker"),
    model_classes=(
        "Qwen2_5OmniForConditionalGeneration",
        "Qwen2_5OmniThinkerForConditionalGeneration",
    ),
    tokens_per_second=25,
    notes=(
        "Load the thinker alone: generate of the full model needs the talker even for text.",
        "Speech output is refused: the talker reads states of all tokens.",
    ),
    vllm="exact",
    root=thinker,
    speech=speaks,
)
