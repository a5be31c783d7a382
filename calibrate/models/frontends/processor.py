"""The front end over a family's own processor, its eyes left out.

A family's file says what the processor does not: how many audio tokens there should be (so that a
processor which cuts audio is noticed), how long audio may be, and how its prompts and answers end.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from calibrate.models.frontends.base import PER_TOKEN, FrontEnd
from calibrate.models.frontends.loading import ears, load_processor
from calibrate.terminal.errors import AudioError, ModelError, first_line
from headrouter_core import families
from headrouter_core.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import torch

#: What :attr:`FrontEnd.tested` says of processors that also take pictures.
WITHOUT_EYES = "the real processor, its image parts left out, and the real encoder"


class ProcessorFrontEnd(FrontEnd):
    """Makes inputs by the chat template and the processor that a checkpoint comes with."""

    processor_class: ClassVar[str]
    tested: ClassVar[str] = "the real processor and encoder"
    #: Token that ends an answer; the tokenizer's end of text unless named.
    end_of_turn: ClassVar[str | None] = None
    #: What the model writes before every answer, where its template leaves that to the model.
    answer_start: ClassVar[str] = ""
    #: Whether the question comes before the audio, as in the family's own examples.
    question_first: ClassVar[bool] = False

    #: Parts of some front ends fail for less.
    min_seconds: ClassVar[float] = 0.1
    max_seconds: float = math.inf

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.extractor = ears(processor)
        self.sample_rate = self.extractor.sampling_rate

    @classmethod
    def from_folder(cls, folder: Path, trust_remote_code: bool) -> ProcessorFrontEnd:
        """Load the processor from a checkpoint's folder."""
        for package in cls.packages:
            if importlib.util.find_spec(package) is None:
                raise ModelError(
                    f"{cls.processor_class} needs {package}, which is not installed; install it:"
                    f" pip install {package.replace('_', '-')}"
                )
        try:
            return cls(load_processor(cls.processor_class, folder, trust_remote_code))
        except (OSError, ValueError, TypeError, AttributeError, ImportError) as error:
            reason = first_line(error)
            raise ModelError(
                f"{folder} holds no readable {cls.processor_class} ({reason}); download the whole"
                " model"
            ) from error

    @property
    def audio_token_id(self) -> int:
        """The placeholder that audio embeddings replace."""
        return int(self.tokenizer.convert_tokens_to_ids(self.processor.audio_token))

    @property
    def end_id(self) -> int:
        """The token that ends an answer."""
        if self.end_of_turn is None:
            return super().end_id
        return int(self.tokenizer.convert_tokens_to_ids(self.end_of_turn))

    def check_model(self, model: Any) -> None:
        """Raise unless the model hears at the processor's audio token and stops at our end."""
        ours, theirs = (self.audio_token_id,), families.locate(model).audio_ids
        if ours != theirs:
            raise ModelError(
                f"audio is token {ours[0]} of the processor and token {theirs[0]} of the model; the"
                " two do not belong together"
            )
        stops = model.generation_config.eos_token_id
        stops = [stops] if isinstance(stops, int) else stops
        if stops is not None and self.end_id not in stops:
            raise ModelError(
                f"answers end with token {self.end_id} in this front end, and the model's"
                f" generation_config stops at {stops}; tokenizer and generation_config do not"
                " belong together"
            )

    def check_audio(self, audio: np.ndarray) -> None:
        """Raise unless the model takes this audio whole and its processor can work on it."""
        super().check_audio(audio)
        if len(audio) < self.min_seconds * self.sample_rate:
            raise AudioError(
                f"the audio is {len(audio) / self.sample_rate * 1000:.0f} ms long; this model's"
                f" front end takes {self.min_seconds * 1000:g} ms or more: add silence"
            )

    def inputs(
        self,
        audios: Sequence[np.ndarray],
        prompt: str,
        system: str | None = None,
        answer: str | None = None,
    ) -> dict[str, torch.Tensor]:
        """Return what the processor makes of one conversation, an answer appended."""
        self.check_conversation(audios, prompt, system, answer)
        made = self.converse(audios, prompt, system)
        self._check_count(made["input_ids"], self.token_counts([len(audio) for audio in audios]))
        if answer is not None:
            made = _appended(made, self.answer_ids(answer))
        self.check_length(made["input_ids"].shape[1])
        return made

    def converse(
        self, audios: Sequence[np.ndarray], prompt: str, system: str | None
    ) -> dict[str, torch.Tensor]:
        """Return the inputs of a conversation up to where the model answers."""
        return self.process(audios, self.render(len(audios), prompt, system))

    def answer_ids(self, answer: str) -> list[int]:
        """Return the tokens of an answer as the model would have to generate it, end included."""
        ids = self.tokenizer(self.answer_start + answer, add_special_tokens=False)["input_ids"]
        return [*ids, self.end_id]

    def token_counts(self, lengths: Sequence[int]) -> list[int]:
        """Return how many audio tokens audios of so many samples become in one conversation."""
        return [self.audio_tokens(samples) for samples in lengths]

    def messages(self, audios: int, prompt: str, system: str | None) -> list[dict[str, Any]]:
        """Return the conversation as the chat template takes it."""
        heard: list[dict[str, Any]] = [{"type": "audio"} for _ in range(audios)]
        asked: list[dict[str, Any]] = [{"type": "text", "text": prompt}]
        content = asked + heard if self.question_first else heard + asked
        messages = [{"role": "user", "content": content}]
        if system is not None:
            messages.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
        return messages

    def render(self, audios: int, prompt: str, system: str | None) -> str:
        """Return the conversation as text with one placeholder an audio."""
        template = self.processor.chat_template or self.tokenizer.chat_template
        if template is None:
            raise ModelError(
                "the model has no chat template; its folder should hold chat_template.jinja or"
                " .json"
            )
        text: str = self.processor.apply_chat_template(
            self.messages(audios, prompt, system),
            chat_template=template,
            tokenize=False,
            add_generation_prompt=True,
        )
        for kind, given in (("question", prompt), ("system prompt", system)):
            if given is not None and given.strip() not in text:
                raise UsageError(f"this model's chat template leaves the {kind} out: {given!r}")
        placeholders = text.count(self.processor.audio_token)
        if placeholders != audios:
            raise ModelError(
                f"the model's chat template puts {placeholders} audio placeholders for {audios}"
                f" audios; it is not a template for {self.processor_class}"
            )
        return text

    def process(self, audios: Sequence[np.ndarray], text: str) -> dict[str, torch.Tensor]:
        """Return what the processor makes of the audios and a rendered conversation."""
        bos = self.tokenizer.bos_token
        # as apply_chat_template has it: a template may write the begin of text itself
        once = {"add_special_tokens": False} if bos and text.startswith(bos) else {}
        made = self.processor(
            text=[text],
            audio=list(audios),
            sampling_rate=self.sample_rate,
            return_tensors="pt",
            **once,
        )
        return dict(made)

    def _check_count(self, ids: torch.Tensor, expected: list[int]) -> None:
        """Compare the audio tokens of the prompt with those that there should be."""
        found = int((ids == self.audio_token_id).sum())
        if found != sum(expected):
            raise ModelError(
                f"the audio should become {sum(expected)} audio tokens and {self.processor_class}"
                f" made {found}: it cut or stretched the audio, or its settings are not this"
                " family's; nothing was run"
            )


def _appended(inputs: dict[str, torch.Tensor], ids: list[int]) -> dict[str, torch.Tensor]:
    """Return inputs with tokens behind the prompt, and what goes with each token."""
    import torch

    fills = {name: torch.full((1, len(ids)), fill) for name, fill in PER_TOKEN.items()}
    ends = {**fills, "input_ids": torch.tensor([ids])}
    return {
        name: torch.cat([value, ends[name].to(value.dtype)], 1) if name in ends else value
        for name, value in inputs.items()
    }
