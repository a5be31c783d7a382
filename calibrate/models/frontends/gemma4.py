"""Gemma 4: mel features of at most 30 seconds."""

from __future__ import annotations

from typing import Any, ClassVar

from calibrate.models.frontends.processor import WITHOUT_EYES, ProcessorFrontEnd

#: What its feature extractor cuts at, unless told otherwise.
_MOST_SAMPLES = 480_000


class Gemma4FrontEnd(ProcessorFrontEnd):
    """Front end of Gemma 4."""

    model_class: ClassVar[str] = "Gemma4ForConditionalGeneration"
    processor_class: ClassVar[str] = "Gemma4Processor"
    tested: ClassVar[str] = WITHOUT_EYES
    end_of_turn: ClassVar[str] = "<turn|>"

    def __init__(self, processor: Any) -> None:
        super().__init__(processor)
        self.max_seconds = _MOST_SAMPLES / self.sample_rate
        self.seconds_per_token = 4 * self.extractor.hop_length / self.sample_rate

    def audio_tokens(self, samples: int) -> int:
        """Return how many audio tokens so many samples become: 25 a second."""
        length = self.extractor.frame_length
        # half a frame of silence comes before, and the first sample of a frame is its past
        frames = (samples + length // 2 - (length + 1)) // self.extractor.hop_length + 1
        return int(-(-max(frames, 0) // 4))


FRONT_END = Gemma4FrontEnd
