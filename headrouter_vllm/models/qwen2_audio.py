"""Qwen2Audio, whose tokens vLLM numbers from 0."""

from __future__ import annotations

from vllm.model_executor.models.qwen2_audio import (
    Qwen2AudioDummyInputsBuilder,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioMultiModalProcessor,
    Qwen2AudioProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from headrouter_vllm.models.embedding import PrunedEmbeddings
from headrouter_vllm.processing import PruningProcessor


class Processor(PruningProcessor, Qwen2AudioMultiModalProcessor):
    """Its processor."""


@MULTIMODAL_REGISTRY.register_processor(
    Processor, info=Qwen2AudioProcessingInfo, dummy_inputs=Qwen2AudioDummyInputsBuilder
)
class PrunedQwen2Audio(PrunedEmbeddings, Qwen2AudioForConditionalGeneration):
    """The model."""
