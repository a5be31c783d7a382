"""A request of lmms-eval as a question about recordings."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from calibrate.evaluation.lmms_eval.audio import read_audio
from calibrate.evaluation.lmms_eval.generation import Generation, read_generation
from calibrate.terminal.errors import AudioError
from headrouter_core.errors import HeadRouterError, UsageError


@dataclass(frozen=True, eq=False)
class Question:
    """One request; its recordings are read when its turn comes."""

    prompt: str
    media: Callable[[], Sequence[Any] | None]
    """Gives what the task hands over beside the text, in order."""
    generation: Generation
    place: str
    """Task, split and document: for messages and for seeding."""

    @property
    def sample(self) -> int:
        """A number that is this document's whatever else is asked: seeds random draws."""
        return int.from_bytes(hashlib.sha256(self.place.encode()).digest()[:4], "little")

    def audios(self, sample_rate: int, max_seconds: float = math.inf) -> list[np.ndarray]:
        """Read the recordings, float32 [n] each.

        Raises:
            UsageError: there is none, or something that is not audio.
            AudioError: one of them cannot be read.
        """
        given = list(self.media() or ())
        if not given:
            raise AudioError(
                "the task hands over no audio for this document, so there is nothing to prune; a"
                " score without audio would pass for one of the pruned model. Leave the document"
                " out of the task"
            )
        return [read_audio(one, sample_rate, max_seconds) for one in given]

    def failed(self, error: HeadRouterError, others: int = 0) -> HeadRouterError:
        """Return an error of the same type that names the document, and what was beside it."""
        beside = f" and {others} more in its batch" if others else ""
        return type(error)(f"{self.place}{beside}: {error}")


def read_request(
    arguments: tuple[Any, ...], datasets: Mapping[str, Any], max_new_tokens: int
) -> Question:
    """Read the arguments of a ``generate_until`` request.

    Args:
        arguments: prompt, generation_kwargs, doc_to_visual, document, task, split.
        datasets: task -> split -> documents, as lmms-eval sets it on the model.
        max_new_tokens: for tasks that name none.

    Raises:
        UsageError: other arguments, as of a task for chat models only, or settings that are not
            known.
    """
    if len(arguments) != 6 or not isinstance(arguments[1], Mapping) or not callable(arguments[2]):
        kinds = ", ".join(type(argument).__name__ for argument in arguments)
        raise UsageError(
            f"a request has arguments ({kinds}); this model takes tasks that have doc_to_text and"
            " doc_to_visual and one round"
        )
    prompt, settings, doc_to_visual, document, task, split = arguments
    place = f"task {task}, split {split}, document {document}"
    try:
        generation = read_generation(settings, max_new_tokens)
    except UsageError as error:
        raise UsageError(f"{place}: {error}") from error
    return Question(
        prompt, lambda: doc_to_visual(datasets[task][split][document]), generation, place
    )
