"""Gemma 3n: as many audio tokens as 30 seconds have, whatever the length."""

from __future__ import annotations

from typing import Any, ClassVar

from calibrate.models.frontends.processor import WITHOUT_EYES, ProcessorFrontEnd

#: What its feature extractor pads to and cuts at, unless told otherwise.
_MOST_SAMPLES = 480_000


class Gemma3nFrontEnd(ProcessorFrontEnd):
    """Front end of Gemma 3n. Tokens behind the audio stand for padding."""

    model_class: ClassVar[str] = "Gemma3nForConditionalGeneration"
    processor_class: ClassVar[str] = "Gemma3nProcessor"
    tested: ClassVar[str] = WITHOUT_EYES
    end_of_turn: ClassVar[str] = "<end_of_turn>"
    seconds_per_token: float = 0.16

    def __init__(self, processor: Any) -> None:
        super().__init__(processor)
        self.max_seconds = _MOST_SAMPLES / self.sample_rate

    def audio_tokens(self, samples: int) -> int:
        """Return how many audio tokens any audio becomes."""
        return self.processor.audio_seq_length if samples else 0


FRONT_END = Gemma3nFrontEnd
