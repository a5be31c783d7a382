"""Phi-4-multimodal: filter banks of any length, and a LoRA for speech."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from calibrate.models.frontends.processor import WITHOUT_EYES, ProcessorFrontEnd

if TYPE_CHECKING:
    import numpy as np
    import torch


class Phi4MultimodalFrontEnd(ProcessorFrontEnd):
    """Front end of Phi-4-multimodal."""

    model_class: ClassVar[str] = "Phi4MultimodalForCausalLM"
    processor_class: ClassVar[str] = "Phi4MultimodalProcessor"
    tested: ClassVar[str] = WITHOUT_EYES
    adapter: ClassVar[str] = "speech-lora"
    end_of_turn: ClassVar[str] = "<|end|>"

    def __init__(self, processor: Any) -> None:
        super().__init__(processor)
        extractor = self.extractor
        self._frames = extractor.audio_compression_rate * extractor.audio_downsample_rate
        self.seconds_per_token = self._frames * extractor.hop_length / self.sample_rate

    def audio_tokens(self, samples: int) -> int:
        """Return how many audio tokens so many samples become: 12.5 a second."""
        frames = (samples - self.extractor.win_length) // self.extractor.hop_length + 1
        return int(-(-max(frames, 0) // self._frames))

    def process(self, audios: Sequence[np.ndarray], text: str) -> dict[str, torch.Tensor]:
        """Add the mask that the processor leaves out for a single audio, for batches."""
        import torch

        made = super().process(audios, text)
        present = torch.ones(made["audio_input_features"].shape[:2], dtype=torch.bool)
        return {"audio_attention_mask": present, **made}


FRONT_END = Phi4MultimodalFrontEnd
