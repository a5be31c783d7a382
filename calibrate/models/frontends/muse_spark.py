"""Muse Spark: 24 kHz waveforms, 80 ms a token."""

from __future__ import annotations

from typing import Any, ClassVar

from calibrate.models.frontends.processor import WITHOUT_EYES, ProcessorFrontEnd


class MuseSparkFrontEnd(ProcessorFrontEnd):
    """Front end of Muse Spark."""

    model_class: ClassVar[str] = "MuseSparkForConditionalGeneration"
    processor_class: ClassVar[str] = "MuseSparkProcessor"
    tested: ClassVar[str] = WITHOUT_EYES

    def __init__(self, processor: Any) -> None:
        super().__init__(processor)
        self.seconds_per_token = self.extractor.samples_per_token / self.sample_rate

    def audio_tokens(self, samples: int) -> int:
        """Return how many audio tokens so many samples become: 12.5 a second."""
        return int(-(-samples // self.extractor.samples_per_token))


FRONT_END = MuseSparkFrontEnd
