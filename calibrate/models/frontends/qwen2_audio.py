"""Qwen2-Audio: Whisper features of at most 30 seconds."""

from __future__ import annotations

from typing import Any, ClassVar

from calibrate.models.frontends.arithmetic import pooled_tokens
from calibrate.models.frontends.processor import ProcessorFrontEnd


class Qwen2AudioFrontEnd(ProcessorFrontEnd):
    """Front end of Qwen2-Audio."""

    model_class: ClassVar[str] = "Qwen2AudioForConditionalGeneration"
    processor_class: ClassVar[str] = "Qwen2AudioProcessor"
    end_of_turn: ClassVar[str] = "<|im_end|>"

    def __init__(self, processor: Any) -> None:
        super().__init__(processor)
        self.max_seconds = self.extractor.n_samples / self.sample_rate
        self.seconds_per_token = 4 * self.extractor.hop_length / self.sample_rate

    def audio_tokens(self, samples: int) -> int:
        """Return how many audio tokens so many samples become: 25 a second."""
        return pooled_tokens(-(-samples // self.extractor.hop_length))


FRONT_END = Qwen2AudioFrontEnd
