"""AudioFlamingo3, whose tokens vLLM numbers from 0."""

from __future__ import annotations

from vllm.model_executor.models.audioflamingo3 import (
    AudioFlamingo3DummyInputsBuilder,
    AudioFlamingo3ForConditionalGeneration,
    AudioFlamingo3MultiModalProcessor,
    AudioFlamingo3ProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from headrouter_vllm.models.embedding import PrunedEmbeddings
from headrouter_vllm.processing import PruningProcessor


class Processor(PruningProcessor, AudioFlamingo3MultiModalProcessor):
    """Its processor."""


@MULTIMODAL_REGISTRY.register_processor(
    Processor, info=AudioFlamingo3ProcessingInfo, dummy_inputs=AudioFlamingo3DummyInputsBuilder
)
class PrunedAudioFlamingo3(PrunedEmbeddings, AudioFlamingo3ForConditionalGeneration):
    """The model."""
