"""MOSS-Transcribe-Diarize: Whisper windows, time markers between audio tokens."""

from __future__ import annotations

from typing import Any, ClassVar

from calibrate.models.frontends.processor import ProcessorFrontEnd


class MossTranscribeDiarizeFrontEnd(ProcessorFrontEnd):
    """Front end of MOSS-Transcribe-Diarize. The question is extra information for a transcript."""

    model_class: ClassVar[str] = "MossTranscribeDiarizeForConditionalGeneration"
    processor_class: ClassVar[str] = "MossTranscribeDiarizeProcessor"
    end_of_turn: ClassVar[str] = "<|im_end|>"

    def __init__(self, processor: Any) -> None:
        super().__init__(processor)
        self._frames = 2 * processor.audio_merge_size
        self.seconds_per_token = self._frames * self.extractor.hop_length / self.sample_rate

    def audio_tokens(self, samples: int) -> int:
        """Return how many audio tokens so many samples become: 12.5 a second, rounded up."""
        windows, rest = divmod(samples, self.extractor.n_samples)
        parts = [self.extractor.n_samples] * windows + [rest]
        frames = [-(-part // self.extractor.hop_length) for part in parts]
        return sum(-(-count // self._frames) for count in frames)


FRONT_END = MossTranscribeDiarizeFrontEnd
