"""Fun-ASR-Nano: stacked filter banks; the question is context for a transcript."""

from __future__ import annotations

from typing import Any, ClassVar

from calibrate.models.frontends.processor import ProcessorFrontEnd


class FunAsrNanoFrontEnd(ProcessorFrontEnd):
    """Front end of Fun-ASR-Nano."""

    model_class: ClassVar[str] = "FunAsrNanoForConditionalGeneration"
    processor_class: ClassVar[str] = "FunAsrNanoProcessor"
    packages: ClassVar[tuple[str, ...]] = ("torchaudio",)
    end_of_turn: ClassVar[str] = "<|im_end|>"
    several_audios: ClassVar[bool] = False

    def __init__(self, processor: Any) -> None:
        super().__init__(processor)
        self.seconds_per_token = self.extractor.stride_lfr * self.extractor.frame_shift / 1000

    def audio_tokens(self, samples: int) -> int:
        """Return how many audio tokens so many samples become: one for each 60 ms."""
        length, shift = (
            self.sample_rate * milliseconds // 1000
            for milliseconds in (self.extractor.frame_length, self.extractor.frame_shift)
        )
        frames = (samples - length) // shift + 1
        return int(-(-max(frames, 0) // self.extractor.stride_lfr))


FRONT_END = FunAsrNanoFrontEnd
