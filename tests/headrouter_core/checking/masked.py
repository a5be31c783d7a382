"""The reference that pruning is held against, written without the engine.

The unmodified model runs in eager attention at full length. From layer M on, hooks write minus
infinity into the columns of dropped tokens, for every query of the prefill and of later steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def masked(
    layers: nn.ModuleList,
    layer: int,
    dropped: torch.Tensor,
    states: dict[tuple[int, int], torch.Tensor] | None = None,
) -> Iterator[None]:
    """Hide columns from layers ``layer`` on.

    Args:
        layers: the decoder layers of a model in eager attention.
        layer: M.
        dropped: BoolTensor [B, L], True where a token of the prompt, or of all turns of a
            conversation, is hidden; rows of a forward beyond B (beams) repeat it.
        states: what merging methods put in on entry to layer M, by row and column.
    """

    def hide(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        mask = kwargs["attention_mask"].clone()
        # a conversation's later turns are not there yet
        hidden = dropped[:, : mask.shape[-1]]
        hidden = hidden.repeat_interleave(mask.shape[0] // dropped.shape[0], dim=0)
        rows, columns = hidden.nonzero(as_tuple=True)
        mask[rows, :, :, columns] = torch.finfo(mask.dtype).min
        return args, {**kwargs, "attention_mask": mask}

    def replace(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        if args[0].shape[1] != dropped.shape[1]:  # a later step
            return None
        new = args[0].clone()
        for (row, column), state in (states or {}).items():
            new[row, column] = state
        return (new, *args[1:]), kwargs

    handles = [
        module.register_forward_pre_hook(hide, with_kwargs=True) for module in layers[layer:]
    ]
    handles.append(layers[layer].register_forward_pre_hook(replace, with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def dropped_columns(
    ids: torch.Tensor, mask: torch.Tensor, audio: int, kept: list[torch.Tensor]
) -> torch.Tensor:
    """Return the BoolTensor [B, L] of audio tokens that are not among each row's ``kept``."""
    dropped = torch.zeros_like(ids, dtype=torch.bool)
    for row, indices in enumerate(kept):
        columns = [
            column
            for column in range(ids.shape[1])
            if ids[row, column] == audio and mask[row, column]
        ]
        for index, column in enumerate(columns):
            dropped[row, column] = index not in indices.tolist()
    return dropped


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return the largest difference, relative to the largest value that is wanted."""
    assert found.shape == wanted.shape, (found.shape, wanted.shape)
    assert torch.isfinite(wanted).all()
    return ((found - wanted).abs().max() / wanted.abs().max()).item()
