"""Voxtral: the conversation is written by mistral-common, not by a chat template."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from calibrate.models.frontends.processor import ProcessorFrontEnd
from headrouter_core.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import torch

#: Feature frames that become one audio token: a convolution of stride 2, then 4 merged.
_FRAMES_PER_TOKEN = 8


class VoxtralFrontEnd(ProcessorFrontEnd):
    """Front end of Voxtral. Audio is padded to windows of 30 s, and the padding has tokens too."""

    model_class: ClassVar[str] = "VoxtralForConditionalGeneration"
    processor_class: ClassVar[str] = "VoxtralProcessor"
    packages: ClassVar[tuple[str, ...]] = ("mistral_common",)

    def __init__(self, processor: Any) -> None:
        super().__init__(processor)
        self._window = processor.audio_kwargs["pad_to_multiple_of"]
        self._tokens = processor.audio_kwargs["max_source_positions"] // _FRAMES_PER_TOKEN
        self.seconds_per_token = self._window / self._tokens / self.sample_rate

    def audio_tokens(self, samples: int) -> int:
        """Return how many audio tokens so many samples become: 375 for each 30 s begun."""
        return int(-(-samples // self._window) * self._tokens)

    def check_text(self, *texts: str | None) -> None:
        """Let any text pass: mistral-common reads none of it as control tokens."""

    def messages(self, audios: int, prompt: str, system: str | None) -> list[dict[str, Any]]:
        """Return the conversation; each audio is still to be put in."""
        messages = super().messages(audios, prompt, None)
        return messages if system is None else [{"role": "system", "content": system}, *messages]

    def converse(
        self, audios: Sequence[np.ndarray], prompt: str, system: str | None
    ) -> dict[str, torch.Tensor]:
        """Return what the processor makes of the conversation."""
        messages = self.messages(len(audios), prompt, system)
        parts = [part for part in messages[-1]["content"] if part["type"] == "audio"]
        for part, audio in zip(parts, audios, strict=True):
            part["base64"] = self._wav(audio)
        try:
            return dict(self.processor.apply_chat_template(messages))
        except ValueError as error:  # before its version 13, audio and a system prompt, say
            raise UsageError(f"mistral-common refuses this conversation: {error}") from error

    def _wav(self, audio: np.ndarray) -> str:
        """Return a WAV file of the samples as they are, in base64."""
        import soundfile

        file = io.BytesIO()
        soundfile.write(file, audio, self.sample_rate, format="WAV", subtype="FLOAT")
        return base64.b64encode(file.getvalue()).decode()


FRONT_END = VoxtralFrontEnd
