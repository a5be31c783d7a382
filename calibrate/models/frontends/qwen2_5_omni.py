"""Qwen2.5-Omni's inputs, made from tokenizer, Whisper features and chat template.

``Qwen2_5OmniProcessor`` would make the same (a test compares them), but it insists on image and
video processors, and so on torchvision, which somebody with audio has no use for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from calibrate.models.frontends.base import FrontEnd
from calibrate.terminal.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    import torch

#: Feature frames that become one audio token: a convolution and a pooling, of stride 2 each.
_FRAMES_PER_TOKEN = 4


class Qwen25OmniFrontEnd(FrontEnd):
    """Front end of Qwen2.5-Omni, alone a thinker or the full checkpoint."""

    model_class: ClassVar[str] = "Qwen2_5OmniThinkerForConditionalGeneration"
    tested: ClassVar[str] = "own code, compared with what the real processor makes"
    unused_weights: ClassVar[tuple[str, ...]] = ("talker.", "token2wav.")

    def __init__(self, tokenizer: Any, extractor: Any, chat_template: str) -> None:
        self.tokenizer = tokenizer
        self.extractor = extractor
        self.chat_template = chat_template
        self.sample_rate = extractor.sampling_rate
        self.max_seconds = extractor.n_samples / extractor.sampling_rate
        self.seconds_per_token = _FRAMES_PER_TOKEN * extractor.hop_length / extractor.sampling_rate

    @classmethod
    def from_folder(cls, folder: Path, trust_remote_code: bool) -> Qwen25OmniFrontEnd:
        """Load tokenizer, feature extractor and chat template from a checkpoint's folder."""
        from transformers import AutoTokenizer, WhisperFeatureExtractor

        try:
            tokenizer = AutoTokenizer.from_pretrained(
                folder, trust_remote_code=trust_remote_code, local_files_only=True
            )
            extractor = WhisperFeatureExtractor.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            reason = str(error).partition("\n")[0].partition(". ")[0]
            raise ModelError(
                f"{folder} lacks a readable tokenizer or feature extractor ({reason}); download"
                " the whole model"
            ) from error
        return cls(tokenizer, extractor, _chat_template(folder, tokenizer))

    @classmethod
    def model_config(cls, config: Any) -> Any:
        """Return the thinker's part of a full model's configuration."""
        return getattr(config, "thinker_config", config)

    def check_model(self, model: Any) -> None:
        """Raise unless the model takes the tokenizer's audio token for audio."""
        ours, theirs = self.tokenizer.audio_token_id, model.config.audio_token_id
        if ours != theirs:
            raise ModelError(
                f"audio is token {ours} of the tokenizer and token {theirs} of the model; the two"
                " do not belong together, or the tokenizer is incomplete"
            )

    def audio_tokens(self, samples: int) -> int:
        """Return how many audio tokens so many samples become: 25 a second."""
        frames: int = -(-samples // self.extractor.hop_length)
        return (((frames - 1) // 2 + 1) - 2) // 2 + 1

    def inputs(
        self,
        audios: Sequence[np.ndarray],
        prompt: str,
        system: str | None = None,
        answer: str | None = None,
    ) -> dict[str, torch.Tensor]:
        """Return input_ids, attention_mask [1, L], input_features, feature_attention_mask."""
        import torch

        self.check_conversation(audios, prompt, system, answer)
        features = self.extractor(
            list(audios),
            sampling_rate=self.sample_rate,
            padding="max_length",
            return_attention_mask=True,
            return_tensors="pt",
        )
        ids = self.tokenizer(self._text(audios, prompt, system))["input_ids"]
        if answer is not None:
            ids = ids + self.answer_ids(answer)
        self.check_length(len(ids))
        row = torch.tensor([ids])
        inputs = {
            "input_ids": row,
            "attention_mask": torch.ones_like(row),
            "input_features": features["input_features"],
            "feature_attention_mask": features["attention_mask"],
        }
        self._check_count(inputs, sum(self.audio_tokens(len(audio)) for audio in audios))
        return inputs

    def _text(self, audios: Sequence[np.ndarray], prompt: str, system: str | None) -> str:
        """Return the rendered conversation with one placeholder an audio token."""
        content = [{"type": "audio"} for _ in audios] + [{"type": "text", "text": prompt}]
        messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        if system is not None:
            messages.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
        text: str = self.tokenizer.apply_chat_template(
            messages, chat_template=self.chat_template, tokenize=False, add_generation_prompt=True
        )
        first, *rest = text.split(self.tokenizer.audio_token)
        if len(rest) != len(audios):
            raise ModelError(
                f"the model's chat template puts {len(rest)} audio placeholders for {len(audios)}"
                " audios; it is not a template of Qwen2.5-Omni"
            )
        for audio, part in zip(audios, rest, strict=True):
            first += self.tokenizer.audio_token * self.audio_tokens(len(audio)) + part
        return first

    def _check_count(self, inputs: dict[str, torch.Tensor], expected: int) -> None:
        """Compare the audio tokens of the prompt with those that the features will become."""
        placeholders = int((inputs["input_ids"] == self.tokenizer.audio_token_id).sum())
        frames = inputs["feature_attention_mask"].sum(-1)
        encoded = int(((((frames - 1) // 2 + 1) - 2) // 2 + 1).sum())
        if not placeholders == encoded == expected:
            raise ModelError(
                f"the audio should become {expected} audio tokens, the prompt holds {placeholders}"
                f" and the features make {encoded}; tokenizer and feature extractor do not belong"
                " to one model"
            )


def _chat_template(folder: Path, tokenizer: Any) -> str:
    """Return the template: the processor's older file first, as transformers has it."""
    legacy = folder / "chat_template.json"
    template = tokenizer.chat_template
    if legacy.is_file():
        try:
            template = json.loads(legacy.read_text("utf-8"))["chat_template"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{legacy} cannot be read ({error!r}); download it again") from error
    if not isinstance(template, str):
        raise ModelError(
            f"{folder} has no chat template; it should hold chat_template.jinja or .json"
        )
    return template


FRONT_END = Qwen25OmniFrontEnd
