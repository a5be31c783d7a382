"""Qwen3-ASR: the question is its system prompt, which it takes for context."""

from __future__ import annotations

from typing import Any, ClassVar

from calibrate.models.frontends.arithmetic import chunked_tokens
from calibrate.models.frontends.processor import ProcessorFrontEnd


class Qwen3AsrFrontEnd(ProcessorFrontEnd):
    """Front end of Qwen3-ASR. Its answers begin with ``language <name><asr_text>``."""

    model_class: ClassVar[str] = "Qwen3ASRForConditionalGeneration"
    processor_class: ClassVar[str] = "Qwen3ASRProcessor"
    end_of_turn: ClassVar[str] = "<|im_end|>"
    several_audios: ClassVar[bool] = False

    def __init__(self, processor: Any) -> None:
        super().__init__(processor)
        self.seconds_per_token = 100 * self.extractor.hop_length / self.sample_rate / 13

    def audio_tokens(self, samples: int) -> int:
        """Return how many audio tokens so many samples become: 13 a second."""
        # shorter audio is filled up with silence by the extractor
        return chunked_tokens(max(samples, self.extractor.min_length) // self.extractor.hop_length)

    def messages(self, audios: int, prompt: str, system: str | None) -> list[dict[str, Any]]:
        """Return the conversation: its template takes no text beside the audio."""
        texts = [{"type": "text", "text": text} for text in (system, prompt) if text is not None]
        return [
            {"role": "system", "content": texts},
            {"role": "user", "content": [{"type": "audio"}] * audios},
        ]


FRONT_END = Qwen3AsrFrontEnd
