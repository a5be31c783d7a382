"""A pruning that costs nothing: from layer M on, as if there were only the kept tokens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from benchmarks.subjects.prompts import Prompt
from headrouter_core import families
from headrouter_core.scoring import frame_indices


@contextmanager
def shortened(model: Any, prompt: Prompt, layer: int, kept: int) -> Iterator[None]:
    """Have the layers from ``layer`` on see ``kept`` audio tokens of the prompt, and all its text.

    Which ones is known beforehand: those of Frame. Nothing is probed, chosen, checked or written
    down; what is left is one gather of the states and one of the rotary phases. It is written
    without the engine, so that the two can be held against each other.
    """
    columns = _columns(prompt, kept)
    phases: list[tuple[torch.Tensor, ...]] = []

    def enter(_: Any, args: tuple[Any, ...], given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        states, *rest = args
        phases[:] = [tuple(part[..., columns, :] for part in given["position_embeddings"])]
        return follow(_, (states[:, columns], *rest), given)

    def follow(_: Any, args: tuple[Any, ...], given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if given["attention_mask"] is not None:
            raise AssertionError("the ideal is made for prompts that need no mask")
        positions = given.get("position_ids")
        positions = None if positions is None else positions[..., columns]
        return args, {**given, "position_embeddings": phases[0], "position_ids": positions}

    first, *others = families.locate(model).layers[layer:]
    with ExitStack() as stack:
        for module, hook in ((first, enter), *((other, follow) for other in others)):
            stack.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
        yield


def _columns(prompt: Prompt, kept: int) -> torch.Tensor:
    """Return the columns of the text and of the audio tokens that Frame keeps: LongTensor [P]."""
    before, after = prompt.audio_begin, prompt.audio_begin + prompt.audio_tokens
    audio = before + frame_indices(prompt.audio_tokens, kept)
    parts = torch.arange(before), audio, torch.arange(after, prompt.length)
    return torch.cat(parts).to(prompt.input_ids.device)
