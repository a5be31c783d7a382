"""Qwen2.5-Omni's thinker."""

from __future__ import annotations

from vllm.model_executor.models.qwen2_5_omni_thinker import (
    Qwen2_5OmniThinkerDummyInputsBuilder,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen2_5OmniThinkerMultiModalProcessor,
    Qwen2_5OmniThinkerProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from headrouter_vllm.models.positions import KeptPositions
from headrouter_vllm.processing import PruningProcessor


class Processor(PruningProcessor, Qwen2_5OmniThinkerMultiModalProcessor):
    """Its processor."""


@MULTIMODAL_REGISTRY.register_processor(
    Processor,
    info=Qwen2_5OmniThinkerProcessingInfo,
    dummy_inputs=Qwen2_5OmniThinkerDummyInputsBuilder,
)
class PrunedQwen2_5Omni(KeptPositions, Qwen2_5OmniThinkerForConditionalGeneration):
    """The model."""
