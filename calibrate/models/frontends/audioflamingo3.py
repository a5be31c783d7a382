"""Audio Flamingo 3: Whisper features in windows of 30 seconds."""

from __future__ import annotations

from typing import Any, ClassVar

from calibrate.models.frontends.arithmetic import pooled_tokens
from calibrate.models.frontends.processor import ProcessorFrontEnd


class AudioFlamingo3FrontEnd(ProcessorFrontEnd):
    """Front end of Audio Flamingo 3."""

    model_class: ClassVar[str] = "AudioFlamingo3ForConditionalGeneration"
    processor_class: ClassVar[str] = "AudioFlamingo3Processor"
    end_of_turn: ClassVar[str] = "<|im_end|>"
    several_audios: ClassVar[bool] = False
    question_first: ClassVar[bool] = True

    def __init__(self, processor: Any) -> None:
        super().__init__(processor)
        window = self.extractor.chunk_length
        # the processor cuts what is behind the last whole window
        self.max_seconds = float(processor.max_audio_len // window * window)
        self.seconds_per_token = 4 * self.extractor.hop_length / self.sample_rate

    def audio_tokens(self, samples: int) -> int:
        """Return how many audio tokens so many samples become: 25 a second."""
        return pooled_tokens(-(-samples // self.extractor.hop_length))


FRONT_END = AudioFlamingo3FrontEnd
