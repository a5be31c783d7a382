"""Leaving dropped tokens out: which column comes where, and moving tensors accordingly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from headrouter_core.engine.prompt.reading import Row
from headrouter_core.engine.shortening.columns import Columns
from headrouter_core.errors import PruningError
from headrouter_core.selectors.base import Selection


@dataclass(frozen=True, eq=False)
class Compaction:
    """Where the P columns of a pruned prefill come from."""

    columns: Columns
    """All columns of layers from M on, those of this forward last."""
    order: torch.Tensor
    """LongTensor [B, P]: which of the forward's columns are left; padding repeats a real one."""
    filled: torch.Tensor | None
    """BoolTensor [B, P], False at padding; ``None``: there is none."""
    length: int
    """L, the columns that the forward brought."""
    placed: tuple[tuple[int, torch.Tensor, torch.Tensor], ...]
    """Batch row, its columns [k], and the states [k, D] that a merging method puts there."""

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """From [..., B or 1, L, D] return [..., B, P, D].

        What a model has cut down to its last tokens by itself is returned as it is.
        """
        if tensor.shape[-2] != self.length:
            return tensor
        order = self.order.to(tensor.device)
        rows = torch.arange(len(order), device=tensor.device)[:, None]
        if tensor.shape[-3] == 1:
            rows = torch.zeros_like(rows)
        return tensor[..., rows, order, :]

    def states(self, hidden: torch.Tensor) -> torch.Tensor:
        """From the unpruned hidden states [B, L, D] return those of layer M, [B, P, D].

        Raises:
            PruningError: a merging method, and several states a token.
        """
        if self.placed and hidden.ndim != 3:
            raise PruningError(
                f"this model has {hidden.shape[0]} states a token and the selector replaces one; "
                "use a selector that does not merge"
            )
        compact = self.gather(hidden)
        for row, columns, states in self.placed:
            compact[row, columns] = states.to(compact)
        return compact


def compact(
    before: Columns,
    rows: Sequence[Row],
    selections: Sequence[Selection],
    real: torch.Tensor,
) -> Compaction:
    """Leave out padding and what was not selected, in original order, rows padded on the left.

    Args:
        before: what layers from M on hold already, on the device of layer M's input.
        rows: one a prompt; prompt i is the i-th of equally long runs of rows of the batch.
        selections: one a prompt.
        real: BoolTensor [B, L] on CPU, False at padding.
    """
    device = before.origin.device
    batch, length = real.shape
    expand = batch // len(rows)
    lengths = torch.tensor([row.real - row.pruned for row in rows], device="cpu")
    lengths = lengths.repeat_interleave(expand)
    longest = max(1, int(lengths.max()))

    keep = real.to(device, copy=True, non_blocking=True)
    for index, (row, selection) in enumerate(zip(rows, selections, strict=True)):
        members = slice(index * expand, (index + 1) * expand)
        keep[members, row.audio.to(device)] = False
        keep[members, _kept_columns(row, selection, device)] = True

    # a stable sort puts the kept columns last and in order, without asking the device how many
    order = keep.byte().argsort(dim=1, stable=True)[:, length - longest :]
    valid = None
    if int(lengths.min()) < longest:
        valid = torch.arange(longest, device="cpu") >= longest - lengths[:, None]
        valid = valid.to(device, non_blocking=True)
        # padding repeats a real token: whatever is at an original padding may be NaN
        order = torch.where(valid, order, order[:, -1:])

    placed = []
    for index, (row, selection) in enumerate(zip(rows, selections, strict=True)):
        if selection.states is not None and row.pruned:
            original = _kept_columns(row, selection, device)
            for member in range(index * expand, (index + 1) * expand):
                shift = longest - int(lengths[member])
                new = keep[member].cumsum(0)[original] - 1 + shift
                placed.append((member, new, selection.states))
    columns = before.joined(order, valid, real)
    return Compaction(columns, order, valid, length, tuple(placed))


def _kept_columns(row: Row, selection: Selection, device: torch.device) -> torch.Tensor:
    """Return the columns [k] of a row's kept tokens.

    Indices outside the audio are refused at the end of the forward: until then they must not reach
    the device, whose own check on indices would end the process's use of it.
    """
    audio = row.audio.to(device)
    return audio[selection.kept.clamp(0, max(audio.numel() - 1, 0))]
