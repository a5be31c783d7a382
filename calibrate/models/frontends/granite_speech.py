"""Granite Speech: mel features of any length; audio is marked in the text itself."""

from __future__ import annotations

from typing import Any, ClassVar

from calibrate.models.frontends.processor import ProcessorFrontEnd


class GraniteSpeechFrontEnd(ProcessorFrontEnd):
    """Front end of Granite Speech."""

    model_class: ClassVar[str] = "GraniteSpeechForConditionalGeneration"
    processor_class: ClassVar[str] = "GraniteSpeechProcessor"
    packages: ClassVar[tuple[str, ...]] = ("torchaudio",)

    def __init__(self, processor: Any) -> None:
        super().__init__(processor)
        self._hop = self.extractor.melspec_kwargs["hop_length"]
        self.seconds_per_token = (
            2 * self.extractor.projector_downsample_rate * self._hop / self.sample_rate
        )

    def audio_tokens(self, samples: int) -> int:
        """Return how many audio tokens so many samples become: 3 for each 0.3 s begun."""
        window = self.extractor.projector_window_size
        frames = (samples // self._hop + 1) // 2
        return int(-(-frames // window) * (window // self.extractor.projector_downsample_rate))

    def messages(self, audios: int, prompt: str, system: str | None) -> list[dict[str, Any]]:
        """Return the conversation: its template, the tokenizer's, takes text only."""
        messages = [{"role": "user", "content": self.processor.audio_token * audios + prompt}]
        if system is not None:
            messages.insert(0, {"role": "system", "content": system})
        return messages


FRONT_END = GraniteSpeechFrontEnd
