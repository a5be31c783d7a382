"""Qwen3-Omni-MoE's thinker: Whisper features of any length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from calibrate.models.frontends.arithmetic import chunked_tokens
from calibrate.models.frontends.processor import WITHOUT_EYES, ProcessorFrontEnd


class Qwen3OmniMoeFrontEnd(ProcessorFrontEnd):
    """Front end of Qwen3-Omni-MoE, alone a thinker or the full checkpoint."""

    model_class: ClassVar[str] = "Qwen3OmniMoeThinkerForConditionalGeneration"
    unused_weights: ClassVar[tuple[str, ...]] = ("talker.", "code2wav.")
    processor_class: ClassVar[str] = "Qwen3OmniMoeProcessor"
    tested: ClassVar[str] = WITHOUT_EYES
    end_of_turn: ClassVar[str] = "<|im_end|>"

    def __init__(self, processor: Any) -> None:
        super().__init__(processor)
        self.seconds_per_token = 100 * self.extractor.hop_length / self.sample_rate / 13

    @classmethod
    def model_config(cls, config: Any) -> Any:
        """Return the thinker's part of a full model's configuration."""
        return getattr(config, "thinker_config", config)

    def audio_tokens(self, samples: int) -> int:
        """Return how many audio tokens one audio of so many samples becomes: 13 a second."""
        return chunked_tokens(samples // self.extractor.hop_length)

    def token_counts(self, lengths: Sequence[int]) -> list[int]:
        """Return the same for several audios, of which all but the longest have their last frame.

        The processor pads audios to the longest, and leaves out a last frame that is not whole.
        """
        hop = self.extractor.hop_length
        most = max(lengths) // hop
        return [chunked_tokens(min(-(-samples // hop), most)) for samples in lengths]


FRONT_END = Qwen3OmniMoeFrontEnd
