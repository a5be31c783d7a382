"""Qwen3-Omni's thinker."""

from __future__ import annotations

from vllm.model_executor.models.qwen3_omni_moe_thinker import (
    Qwen3OmniMoeThinkerDummyInputsBuilder,
    Qwen3OmniMoeThinkerForConditionalGeneration,
    Qwen3OmniMoeThinkerMultiModalProcessor,
    Qwen3OmniMoeThinkerProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from headrouter_vllm.models.positions import KeptPositions
from headrouter_vllm.processing import PruningProcessor


class Processor(PruningProcessor, Qwen3OmniMoeThinkerMultiModalProcessor):
    """Its processor."""


@MULTIMODAL_REGISTRY.register_processor(
    Processor,
    info=Qwen3OmniMoeThinkerProcessingInfo,
    dummy_inputs=Qwen3OmniMoeThinkerDummyInputsBuilder,
)
class PrunedQwen3Omni(KeptPositions, Qwen3OmniMoeThinkerForConditionalGeneration):
    """The model."""
