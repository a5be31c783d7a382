"""VibeVoice-ASR: 24 kHz waveforms; the question is extra information for a transcript."""

from __future__ import annotations

from typing import Any, ClassVar

from calibrate.models.frontends.processor import ProcessorFrontEnd


class VibeVoiceAsrFrontEnd(ProcessorFrontEnd):
    """Front end of VibeVoice-ASR. It writes JSON, and the role of the answer itself."""

    model_class: ClassVar[str] = "VibeVoiceAsrForConditionalGeneration"
    processor_class: ClassVar[str] = "VibeVoiceAsrProcessor"
    answer_start: ClassVar[str] = "<|im_start|>assistant\n"

    def __init__(self, processor: Any) -> None:
        super().__init__(processor)
        self._hop = self.extractor.pad_to_multiple_of
        self.seconds_per_token = self._hop / self.sample_rate

    @classmethod
    def model_config(cls, config: Any) -> Any:
        """Switch off the noise that every forward draws into the audio embeddings."""
        config.acoustic_tokenizer_encoder_config.vae_std = 0.0
        return config

    def audio_tokens(self, samples: int) -> int:
        """Return how many audio tokens so many samples become: 7.5 a second."""
        return int(-(-samples // self._hop))


FRONT_END = VibeVoiceAsrFrontEnd
