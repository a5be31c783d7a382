"""Prompts for both sides: as vLLM takes them, and as transformers does."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

RATE = 16000
SPEECH = Path(__file__).parents[3] / "tiny_omni" / "demo.flac"


@functools.cache
def speech() -> np.ndarray:
    """Return the demo's 12 seconds, [samples]."""
    samples, rate = soundfile.read(SPEECH, dtype="float32")
    assert rate == RATE
    return samples


def sound(begin: float, end: float) -> np.ndarray:
    """Return a part of it, in seconds; past its end it begins anew."""
    return np.resize(speech(), int(end * RATE))[int(begin * RATE) :]


def written(parts: str) -> str:
    """Return a prompt of a tiny random model: ``parts`` with the placeholders, and a question."""
    return f"<|im_start|>user\n{parts}what is said<|im_end|>\n<|im_start|>assistant\n"


@dataclass(frozen=True)
class Question:
    """Some audios and a text, and how they are pruned."""

    parts: tuple[tuple[float, float], ...]
    """Where each audio begins and ends in the demo, in seconds."""
    text: str
    settings: dict[str, Any] | None = None

    @property
    def audios(self) -> list[np.ndarray]:
        return [sound(*part) for part in self.parts]

    @property
    def written(self) -> str:
        """The prompt as the chat template makes it."""
        places = "<|audio_bos|><|AUDIO|><|audio_eos|>" * len(self.parts)
        return (
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
            f"{places}{self.text}<|im_end|>\n<|im_start|>assistant\n"
        )

    def for_vllm(self) -> dict[str, Any]:
        audios = [(audio, RATE) for audio in self.audios]
        prompt = {"prompt": self.written, "multi_modal_data": {"audio": audios}}
        if self.settings is not None:
            prompt["mm_processor_kwargs"] = {"headrouter": self.settings}
        return prompt

    def for_transformers(self, processor: Any) -> dict[str, Any]:
        made = processor(
            text=self.written,
            audio=self.audios,
            sampling_rate=RATE,
            return_tensors="pt",
            padding=True,
        )
        return dict(made)


QUESTIONS = (
    (((0, 12),), "Which keyword is spoken?"),
    (((1, 6),), "What is heard in the background?"),
    (((0, 3.3),), "Is the speaker happy or sad?"),
    (((2, 9), (0, 4)), "Which instrument plays?"),
)
