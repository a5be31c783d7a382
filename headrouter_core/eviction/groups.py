"""Where KV heads of different lengths live: a few dense tensors, each of heads of like length.

A tensor per head would cost kernels per head in every step; one for all heads would be as long as
the longest of them, and free nothing. So heads are put together where that pads little.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import pad

#: Tensors that a layer's heads are laid into at most.
MOST = 4
#: Padding, as a share of what is held, that is taken rather than one more of them.
SLACK = 0.05
#: Columns that a tensor grows by at least, so that not every step copies it.
SPARE = 16


def grouped(lengths: Sequence[int], most: int = MOST, slack: float = SLACK) -> list[list[int]]:
    """Put heads of like length together: into no more groups than needed, and least padded so.

    Args:
        lengths: one a head.
        most: groups at most.
        slack: padding, as a share of all lengths, that is not worth another group.

    Returns:
        The heads of each group, ascending.
    """
    heads = len(lengths)
    order = sorted(range(heads), key=lambda head: -lengths[head])

    @functools.cache
    def least(start: int, groups: int) -> tuple[int, tuple[int, ...]]:
        """Return the fewest columns that heads from ``start`` on fit in, and where groups end."""
        longest = lengths[order[start]]
        if groups == 1:
            return (heads - start) * longest, (heads,)
        options = []
        for end in range(start + 1, heads - groups + 2):
            columns, ends = least(end, groups - 1)
            options.append(((end - start) * longest + columns, (end, *ends)))
        return min(options)

    for groups in range(1, min(most, heads) + 1):
        columns, ends = least(0, groups)
        if columns <= sum(lengths) * (1 + slack):
            break
    return [sorted(order[a:b]) for a, b in itertools.pairwise((0, *ends))]


@dataclass(eq=False)
class Group:
    """Some KV heads of one layer; row b's head i holds the first ``lengths[b, i]`` slots."""

    heads: torch.Tensor
    """LongTensor [h]: which of the layer's."""
    keys: torch.Tensor
    """[B, h, C, d]."""
    values: torch.Tensor
    """[B, h, C, d_v]."""
    positions: torch.Tensor
    """LongTensor [B, h, C]: the layer's column that is in each slot, ascending; 0 where none is."""
    lengths: torch.Tensor
    """LongTensor [B, h]."""
    longest: int
    """The largest of these."""

    def tensors(self) -> Iterator[torch.Tensor]:
        """Yield all that is held."""
        yield from (self.heads, self.keys, self.values, self.positions, self.lengths)

    def filled(self) -> torch.Tensor:
        """Return the BoolTensor [B, h, C], False at padding."""
        slots = torch.arange(self.keys.shape[2], device=self.keys.device)
        return slots < self.lengths[..., None]

    def append(self, keys: torch.Tensor, values: torch.Tensor, first: int) -> None:
        """Add the same columns to every head.

        Args:
            keys: [B, H_kv, Q, d], of all heads of the layer.
            values: [B, H_kv, Q, d_v].
            first: the layer's column of the first one.
        """
        count = keys.shape[2]
        self._make_room(self.longest + count)
        new = torch.arange(count, device=keys.device)
        slots = self.lengths[..., None] + new
        for held, states in ((self.keys, keys), (self.values, values)):
            index = slots[..., None].expand(*slots.shape, held.shape[-1])
            held.scatter_(2, index, states[:, self.heads].to(held.dtype))
        self.positions.scatter_(2, slots, (first + new).expand_as(slots))
        self.lengths = self.lengths + count
        self.longest += count

    def _make_room(self, columns: int) -> None:
        have = self.keys.shape[2]
        if columns <= have:
            return
        more = columns - have + max(SPARE, columns // 16)
        self.keys, self.values = (pad(part, (0, 0, 0, more)) for part in (self.keys, self.values))
        self.positions = pad(self.positions, (0, more))

    def crop(self, columns: int) -> None:
        """Forget the layer's columns from ``columns`` on."""
        stay = self.filled() & (self.positions < columns)
        self.positions = self.positions.masked_fill(~stay, 0)
        self.lengths = stay.sum(-1)
        self.longest = int(self.lengths.max())

    def choose(self, move: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Have rows taken, reordered or repeated by ``move``."""
        self.keys, self.values = move(self.keys), move(self.values)
        self.positions, self.lengths = move(self.positions), move(self.lengths)


@dataclass(frozen=True, eq=False)
class Part:
    """What some KV heads hold, in whichever layout: a layer as it grew, or one of its groups."""

    heads: tuple[int, ...]
    of: int
    """H_kv, the KV heads of the layer."""
    keys: torch.Tensor
    """[B, h, C, d]."""
    values: torch.Tensor
    """[B, h, C, d_v]."""
    positions: torch.Tensor
    """LongTensor [B or 1, h or 1, C]: columns of the layer."""
    real: torch.Tensor
    """BoolTensor [B, h, C]: False at padding, of the batch or of the layout."""


def gathered(parts: Sequence[Part], kept: Sequence[Sequence[torch.Tensor]]) -> list[Group]:
    """Lay what is kept into tensors of its own.

    Args:
        parts: what a layer holds.
        kept: LongTensor [n] of slots, by row and head: indices into the columns of the head's part.
    """
    homes = {head: (part, i) for part in parts for i, head in enumerate(part.heads)}
    longest = [max(len(row[head]) for row in kept) for head in range(len(homes))]
    groups = []
    for heads in grouped(longest):
        size = max(longest[head] for head in heads)
        made = [_column(*homes[head], [row[head] for row in kept], size) for head in heads]
        keys, values, positions = (torch.stack(parts, 1) for parts in zip(*made, strict=True))
        lengths = [[len(row[head]) for head in heads] for row in kept]
        groups.append(
            Group(
                torch.tensor(heads, device=keys.device),
                keys,
                values,
                positions,
                torch.tensor(lengths, device=keys.device),
                size,
            )
        )
    return groups


def _column(
    part: Part, place: int, slots: Sequence[torch.Tensor], size: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return keys, values [B, size, d] and positions [B, size] of one head's slots."""
    index = torch.stack([pad(row, (0, size - len(row))) for row in slots])
    lengths = torch.tensor([len(row) for row in slots], device=index.device)
    empty = torch.arange(size, device=index.device) >= lengths[:, None]
    states = []
    for held in (part.keys, part.values):
        every = index[..., None].expand(-1, -1, held.shape[-1])
        states.append(held[:, place].gather(1, every))
    positions = part.positions[:, place if part.positions.shape[1] > 1 else 0]
    columns = positions.expand(len(index), -1).gather(1, index).masked_fill(empty, 0)
    return states[0], states[1], columns
