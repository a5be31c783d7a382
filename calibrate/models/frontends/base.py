"""Front ends: from audio and a question to a model's inputs. One small file a family.

The core takes what a model's ``generate`` takes; here is where that comes from. A family's front
end makes the inputs that the family's own processor would make, and compares how many audio tokens
there should be with how many there are: audio is never cut, stretched or dropped without a word.

What is known of a front end can be listed without torch: methods that make tensors import it.
"""

from __future__ import annotations

import abc
import importlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from calibrate.models import hub
from calibrate.terminal.errors import AudioError, ModelError
from headrouter_core.errors import UnsupportedModelError, UsageError
from headrouter_core.families import objection

if TYPE_CHECKING:
    import numpy as np
    import torch

#: ``model_type`` of a checkpoint's configuration -> module whose ``FRONT_END`` is its front end.
FRONT_ENDS = {
    "audioflamingo3": "calibrate.models.frontends.audioflamingo3",
    "fun_asr_nano": "calibrate.models.frontends.fun_asr_nano",
    "gemma3n": "calibrate.models.frontends.gemma3n",
    "gemma4": "calibrate.models.frontends.gemma4",
    "gemma4_unified": "calibrate.models.frontends.gemma4_unified",
    "glmasr": "calibrate.models.frontends.glmasr",
    "granite_speech": "calibrate.models.frontends.granite_speech",
    "granite_speech_plus": "calibrate.models.frontends.granite_speech_plus",
    "moss_transcribe_diarize": "calibrate.models.frontends.moss_transcribe_diarize",
    "muse_spark": "calibrate.models.frontends.muse_spark",
    "musicflamingo": "calibrate.models.frontends.musicflamingo",
    "phi4_multimodal": "calibrate.models.frontends.phi4_multimodal",
    "qwen2_5_omni": "calibrate.models.frontends.qwen2_5_omni",
    "qwen2_5_omni_thinker": "calibrate.models.frontends.qwen2_5_omni",
    "qwen2_audio": "calibrate.models.frontends.qwen2_audio",
    "qwen3_asr": "calibrate.models.frontends.qwen3_asr",
    "qwen3_omni_moe": "calibrate.models.frontends.qwen3_omni_moe",
    "qwen3_omni_moe_thinker": "calibrate.models.frontends.qwen3_omni_moe",
    "vibevoice_asr": "calibrate.models.frontends.vibevoice_asr",
    "voxtral": "calibrate.models.frontends.voxtral",
}

#: Half of a character: bytes that are not UTF-8 come as one, and no tokenizer takes it.
_HALF = re.compile("[\ud800-\udfff]")

#: Inputs that hold something for each token, and what that is for text; for padding it is 0.
PER_TOKEN = {"attention_mask": 1, "mm_token_type_ids": 0, "token_type_ids": 0}


class FrontEnd(abc.ABC):
    """What one family takes for audio and text; see :mod:`.qwen2_5_omni` beside this."""

    #: Name of the transformers class that hears and answers.
    model_class: ClassVar[str]
    #: Checkpoint keys that begin so belong to parts that ``model_class`` does without.
    unused_weights: ClassVar[tuple[str, ...]] = ()
    #: Name of the transformers class that makes the inputs, and how that was tested.
    processor_class: ClassVar[str | None] = None
    tested: ClassVar[str]
    #: Packages that it cannot do without, besides those that headrouter needs.
    packages: ClassVar[tuple[str, ...]] = ()
    #: Folder of the LoRA for audio, if there is one; empty: it lies among the model's own files.
    adapter: ClassVar[str] = ""

    #: Whether a conversation may hold several audios.
    several_audios: ClassVar[bool] = True
    #: The shortest audio that its parts can work on.
    min_seconds: ClassVar[float] = 0.0

    tokenizer: Any
    sample_rate: int
    max_seconds: float
    """The longest audio that the model takes whole."""
    seconds_per_token: float

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str],
        revision: str | None = None,
        *,
        trust_remote_code: bool = False,
    ) -> FrontEnd:
        """Load the front end of a checkpoint: a local folder or a Hub repository.

        Raises:
            UnsupportedModelError: no front end knows this kind of model.
            ModelError: it cannot be fetched, or lacks a file.
        """
        local = os.path.isdir(path)
        folder = Path(path) if local else hub.fetch(str(path), revision, code=trust_remote_code)
        return front_end(read_config(folder)).from_folder(folder, trust_remote_code)

    @classmethod
    @abc.abstractmethod
    def from_folder(cls, folder: Path, trust_remote_code: bool) -> FrontEnd:
        """Load from a local folder that is known to be of this family."""

    @classmethod
    def model_config(cls, config: Any) -> Any:
        """Return the part of a checkpoint's configuration that ``model_class`` is built from."""
        return config

    @property
    def end_id(self) -> int:
        """The token that ends an answer."""
        return int(self.tokenizer.eos_token_id)

    @abc.abstractmethod
    def check_model(self, model: Any) -> None:
        """Raise a ModelError unless the loaded model reads tokens as this front end writes them."""

    @abc.abstractmethod
    def audio_tokens(self, samples: int) -> int:
        """Return how many audio tokens so many samples at ``sample_rate`` become."""

    @abc.abstractmethod
    def inputs(
        self,
        audios: Sequence[np.ndarray],
        prompt: str,
        system: str | None = None,
        answer: str | None = None,
    ) -> dict[str, torch.Tensor]:
        """Return the model's inputs for one conversation: the audios, then the prompt.

        Args:
            audios: float32 [n] each, mono at ``sample_rate``.
            prompt: the question.
            system: replaces the chat template's own system prompt.
            answer: appended behind the prompt with its end of turn, as the model would have to
                generate it; the tokens of the prompt are the same with and without.

        Raises:
            AudioError: an audio is longer or shorter than the model takes.
            UsageError: no prompt, or text that holds one of the model's control tokens.
        """

    def batch(self, rows: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Join inputs to a batch: tokens are padded on the left, features on the right."""
        if not rows:
            raise UsageError("there is nothing to batch; give at least one row of inputs")
        import torch

        padding = {**dict.fromkeys(PER_TOKEN, 0), "input_ids": self.tokenizer.pad_token_id}
        batch = {}
        for name in rows[0]:
            parts = [row[name] for row in rows]
            left = name in padding
            fill = padding.get(name, 0)
            batch[name] = torch.cat([_widened(part, parts, left, fill) for part in parts])
        return batch

    def answer_ids(self, answer: str) -> list[int]:
        """Return the tokens of an answer as the model would have to generate it, with its end."""
        return [*self.tokenizer(answer)["input_ids"], self.end_id]

    def decode(self, ids: torch.Tensor) -> str:
        """Return the text of generated tokens [n], without control tokens."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()

    def check_audio(self, audio: np.ndarray) -> None:
        """Raise unless the model takes this audio whole and it becomes at least one token."""
        if audio.ndim != 1:
            raise AudioError(f"audio has shape {audio.shape}; give mono samples [n]")
        seconds = len(audio) / self.sample_rate
        if seconds > self.max_seconds:
            raise AudioError(
                f"the audio is {seconds:.2f} s long ({len(audio)} samples at {self.sample_rate} Hz)"
                f" and this model takes at most {self.max_seconds:g} s; cut it into parts"
            )
        if self.audio_tokens(len(audio)) < 1:
            raise AudioError(
                f"the audio is {seconds * 1000:.0f} ms long, too short to become one audio token"
                f" of {self.seconds_per_token * 1000:g} ms"
            )

    def check_length(self, tokens: int) -> None:
        """Raise ``UsageError`` unless the model takes so many tokens of audio and text."""
        most = self.tokenizer.model_max_length
        if tokens > most:
            raise UsageError(
                f"audio and text make {tokens} tokens and this model takes at most {most}; shorten"
                " one of them"
            )

    def check_conversation(
        self, audios: Sequence[np.ndarray], prompt: str, system: str | None, answer: str | None
    ) -> None:
        """Raise unless the model takes these audios and texts as one conversation."""
        if not audios or not prompt.strip():
            raise UsageError("a question needs an audio and a text; one of them is missing")
        if len(audios) > 1 and not self.several_audios:
            raise UsageError(
                f"{len(audios)} audios in one conversation, and this model takes one; ask about"
                " each by itself"
            )
        self.check_text(prompt, system, answer)
        for audio in audios:
            self.check_audio(audio)

    def check_text(self, *texts: str | None) -> None:
        """Raise where a text is none, or holds what the model would read as a control token."""
        added = self.tokenizer.added_tokens_decoder.values()
        control = {token.content for token in added if token.special}
        for text in filter(None, texts):
            if half := _HALF.search(text):
                raise UsageError(
                    f"the text holds {half[0]!a}, which is no character: its bytes are not"
                    " UTF-8, or it was cut in the middle of an emoji; write it again"
                )
            found = next((token for token in sorted(control) if token in text), None)
            if found is not None:
                raise UsageError(
                    f"the text holds {found!r}, which this model reads as a control token;"
                    " leave it out"
                )


def _widened(
    part: torch.Tensor, parts: Sequence[torch.Tensor], left: bool, value: float
) -> torch.Tensor:
    """Pad a tensor to the largest of ``parts`` in every dimension but the first."""
    import torch

    pads: list[int] = []
    for dimension in range(part.ndim - 1, 0, -1):
        missing = max(other.shape[dimension] for other in parts) - part.shape[dimension]
        pads += [missing, 0] if left else [0, missing]
    return torch.nn.functional.pad(part, pads, value=value)


def front_end(config: dict[str, Any]) -> type[FrontEnd]:
    """Return the front end for a checkpoint's ``config.json``.

    Raises:
        UnsupportedModelError: listing the kinds of model that are known.
    """
    kind = config.get("model_type")
    if kind not in FRONT_ENDS:
        reason = _objection(config)
        raise UnsupportedModelError(
            f"no front end for models of type {kind!r}{reason and f': {reason}'}; known are"
            f" {', '.join(sorted(FRONT_ENDS))}"
        )
    found: type[FrontEnd] = importlib.import_module(FRONT_ENDS[kind]).FRONT_END
    return found


def _objection(config: dict[str, Any]) -> str:
    """Return why such models cannot be pruned at all; empty where nothing is known of them."""
    import transformers

    try:
        built = transformers.AutoConfig.for_model(**config)
    except (TypeError, ValueError):  # of a model that transformers does not know either
        return ""
    return objection(built) or ""


def read_config(folder: Path) -> dict[str, Any]:
    """Return ``config.json`` of a checkpoint.

    Raises:
        ModelError: there is none, or it is no JSON object.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"{folder} holds no config.json, so it is no model; give the folder that"
            " save_pretrained wrote or that was downloaded from the Hub"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read ({error}); download the model again") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path} is not a JSON object; download the model again")
    return config
