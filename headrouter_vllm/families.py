"""The models that the plug-in knows, by the names that vLLM has for them; imports no vLLM."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ServedFamily:
    """A family of ``headrouter_core`` as vLLM serves it."""

    name: str
    """As ``headrouter families`` says it."""
    architectures: tuple[str, ...]
    """``architectures`` of configurations, as vLLM's registry has them."""
    target: str
    """Module and class that vLLM imports."""
    positions: str = "kept"
    """``kept``: kept tokens have their place of the whole prompt. ``renumbered``: vLLM counts 0,
    1, 2, ... for this model, so that pruned audio seems shorter; another function."""

    @property
    def standing(self) -> str:
        """What ``headrouter families`` says of it: each was run and compared with transformers."""
        return "exact" if self.positions == "kept" else self.positions


_MODELS = "headrouter_vllm.models"

FAMILIES = (
    ServedFamily(
        "qwen2_5_omni",
        ("Qwen2_5OmniModel", "Qwen2_5OmniForConditionalGeneration"),
        f"{_MODELS}.qwen2_5_omni:PrunedQwen2_5Omni",
    ),
    ServedFamily(
        "qwen3_asr",
        ("Qwen3ASRForConditionalGeneration",),
        f"{_MODELS}.qwen3_asr:PrunedQwen3ASR",
    ),
    ServedFamily(
        "qwen3_omni_moe",
        ("Qwen3OmniMoeForConditionalGeneration",),
        f"{_MODELS}.qwen3_omni:PrunedQwen3Omni",
    ),
    ServedFamily(
        "qwen2_audio",
        ("Qwen2AudioForConditionalGeneration",),
        f"{_MODELS}.qwen2_audio:PrunedQwen2Audio",
        positions="renumbered",
    ),
    ServedFamily(
        "audioflamingo3",
        ("AudioFlamingo3ForConditionalGeneration",),
        f"{_MODELS}.audioflamingo3:PrunedAudioFlamingo3",
        positions="renumbered",
    ),
)
