"""Prompts of embeddings alone: a mask says which of them are audio.

The rest of the core reads input ids. So ids are made up that say what the mask says, and the model
is never shown them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from headrouter_core.errors import UsageError

#: The argument, of ``generate`` and of the model's forward.
NAME = "audio_mask"
#: Stands for text: no token has it.
_TEXT = -1


def take_mask(call: Mapping[str, Any], audio_id: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a call as the model takes it, and as the core reads it.

    Args:
        call: arguments by name; ``audio_mask``, BoolTensor [B, L], may be among them, True where
            ``inputs_embeds`` [B, L, D] are audio. All others are text, markers too.
        audio_id: an id that stands for audio.

    Raises:
        UsageError: the mask is none of these embeddings, or input ids say it already.
    """
    shown = {name: value for name, value in call.items() if name != NAME}
    mask = call.get(NAME)
    if mask is None:
        return shown, shown
    embeds = call.get("inputs_embeds")
    if embeds is None or call.get("input_ids") is not None:
        raise UsageError(
            "audio_mask says which inputs_embeds are audio; pass it with them, and without"
            " input_ids, which say it themselves"
        )
    wanted = list(embeds.shape[:2])
    if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool:
        found = str(mask.dtype) if isinstance(mask, torch.Tensor) else type(mask).__name__
        raise UsageError(f"audio_mask is {found}; it must be a BoolTensor {wanted}")
    if list(mask.shape) != wanted:
        raise UsageError(f"audio_mask is {list(mask.shape)}; it must be {wanted}")
    ids = torch.full(mask.shape, _TEXT, device=mask.device).masked_fill(mask, audio_id)
    return shown, {**shown, "input_ids": ids}
