"""Gemma 4 Unified: 40 ms of waveform a token, without an encoder."""

from __future__ import annotations

from typing import Any, ClassVar

from calibrate.models.frontends.processor import WITHOUT_EYES, ProcessorFrontEnd


class Gemma4UnifiedFrontEnd(ProcessorFrontEnd):
    """Front end of Gemma 4 Unified."""

    model_class: ClassVar[str] = "Gemma4UnifiedForConditionalGeneration"
    processor_class: ClassVar[str] = "Gemma4UnifiedProcessor"
    tested: ClassVar[str] = WITHOUT_EYES
    end_of_turn: ClassVar[str] = "<turn|>"

    def __init__(self, processor: Any) -> None:
        super().__init__(processor)
        self.seconds_per_token = self.extractor.audio_samples_per_token / self.sample_rate

    def audio_tokens(self, samples: int) -> int:
        """Return how many audio tokens so many samples become: 25 a second."""
        return int(-(-samples // self.extractor.audio_samples_per_token))


FRONT_END = Gemma4UnifiedFrontEnd
