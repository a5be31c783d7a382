"""GLM-ASR: Whisper features in windows of 30 seconds."""

from __future__ import annotations

from typing import Any, ClassVar

from calibrate.models.frontends.arithmetic import merged_tokens
from calibrate.models.frontends.processor import ProcessorFrontEnd


class GlmAsrFrontEnd(ProcessorFrontEnd):
    """Front end of GLM-ASR."""

    model_class: ClassVar[str] = "GlmAsrForConditionalGeneration"
    processor_class: ClassVar[str] = "GlmAsrProcessor"
    several_audios: ClassVar[bool] = False

    def __init__(self, processor: Any) -> None:
        super().__init__(processor)
        window = self.extractor.chunk_length
        # the processor cuts what is behind the last whole window
        self.max_seconds = float(processor.max_audio_len // window * window)
        self.seconds_per_token = 8 * self.extractor.hop_length / self.sample_rate

    def audio_tokens(self, samples: int) -> int:
        """Return how many audio tokens so many samples become: 12.5 a second."""
        return merged_tokens(-(-samples // self.extractor.hop_length))


FRONT_END = GlmAsrFrontEnd
