"""Qwen3-ASR."""

from __future__ import annotations

import torch
from vllm.model_executor.models.qwen3_asr import (
    Qwen3ASRDummyInputsBuilder,
    Qwen3ASRForConditionalGeneration,
    Qwen3ASRMultiModalProcessor,
    Qwen3ASRProcessingInfo,
    _get_feat_extract_output_lengths,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from headrouter_vllm.models.positions import KeptPositions
from headrouter_vllm.processing import PruningProcessor


class Processor(PruningProcessor, Qwen3ASRMultiModalProcessor):
    """Its processor."""


@MULTIMODAL_REGISTRY.register_processor(
    Processor, info=Qwen3ASRProcessingInfo, dummy_inputs=Qwen3ASRDummyInputsBuilder
)
class PrunedQwen3ASR(KeptPositions, Qwen3ASRForConditionalGeneration):
    """The model."""

    def audio_token_count(self, frames: int) -> int:
        """Return N_a, how many tokens so many frames of features become."""
        return int(_get_feat_extract_output_lengths(torch.tensor(frames)))
