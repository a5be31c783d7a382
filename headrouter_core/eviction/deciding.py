"""From what queries saw to what each row, layer and KV head keeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch

from headrouter_core.errors import NonFiniteError
from headrouter_core.eviction.budgets import Room
from headrouter_core.eviction.methods.base import Method, Scores, View
from headrouter_core.eviction.watching import Seen


@dataclass(frozen=True, eq=False)
class Decision:
    """What one row keeps."""

    slots: list[list[torch.Tensor]]
    """By layer and head: LongTensor, ascending: indices into the head's part."""
    columns: list[list[torch.Tensor]]
    """By layer and head: LongTensor, ascending: columns of the layer's sequence."""
    cutoff: tuple[torch.Tensor, ...] | None


@dataclass(frozen=True, eq=False)
class _Held:
    """KV heads of one layer and row that hold equally many positions."""

    heads: tuple[int, ...]
    slots: torch.Tensor
    """LongTensor [h, n]."""
    positions: torch.Tensor
    """LongTensor [h, n]."""
    attention: torch.Tensor | None
    """[h, n]."""


def decide(
    method: Method, seen: Sequence[Seen], row: int, budget: Fraction, sample: int
) -> Decision:
    """Choose what a row keeps of each layer.

    Args:
        method: the method.
        seen: one a layer.
        row: of the batch.
        budget: fraction of a layer's columns.
        sample: number of the prompt.

    Raises:
        NonFiniteError: scores are not finite.
    """
    layers = [list(_held(layer, row)) for layer in seen]
    heads = [sum(len(held.heads) for held in layer) for layer in layers]
    counts = [
        [n for _, n in sorted((head, held.slots.shape[1]) for held in layer for head in held.heads)]
        for layer in layers
    ]
    columns = [int(layer.real[row].sum()) for layer in seen]
    room = Room.of(columns, counts, budget, method.window)
    scores: list[list[torch.Tensor]] = []
    cutoffs: list[torch.Tensor | None] = []
    for index, layer in enumerate(layers):
        made: dict[int, torch.Tensor] = {}
        cutoff: dict[int, torch.Tensor] = {}
        for held in layer:
            found = method.score(_view(held, index, room.windows[index], sample))
            _check(found, method, index)
            made |= dict(zip(held.heads, found.scores, strict=True))
            if found.cutoff is not None:
                cutoff |= dict(zip(held.heads, found.cutoff, strict=True))
        scores.append([made[head] for head in range(heads[index])])
        every = len(cutoff) == heads[index]
        cutoffs.append(torch.stack([cutoff[i] for i in range(heads[index])]) if every else None)
    kept = method.share(room, scores)
    slots: list[list[torch.Tensor]] = []
    places: list[list[torch.Tensor]] = []
    for layer, values, left in zip(layers, scores, kept, strict=True):
        found_slots: dict[int, torch.Tensor] = {}
        found_places: dict[int, torch.Tensor] = {}
        for held in layer:
            for i, head in enumerate(held.heads):
                best = chosen(values[head], held.slots.shape[1], left[head])
                found_slots[head] = held.slots[i, best]
                found_places[head] = held.positions[i, best]
        slots.append([found_slots[head] for head in range(len(values))])
        places.append([found_places[head] for head in range(len(values))])
    smoothed = [part for part in cutoffs if part is not None]
    return Decision(slots, places, tuple(smoothed) if len(smoothed) == len(cutoffs) else None)


def chosen(scores: torch.Tensor, held: int, count: int) -> torch.Tensor:
    """Return which of a head's positions stay: LongTensor [count], ascending.

    Args:
        scores: [n], of all positions but the last ``held - n``, which stay first.
        held: how many there are.
        count: how many are to stay, from 1 to ``held``.
    """
    window = held - len(scores)
    best = scores.argsort(descending=True, stable=True)[: max(0, count - window)]
    last = torch.arange(held - min(window, count), held, device=scores.device)
    return torch.cat([best.sort().values, last])


def _held(layer: Seen, row: int) -> Iterator[_Held]:
    """Yield what the heads of a row hold, those together that hold equally many."""
    for index, part in enumerate(layer.parts):
        real = part.real[row]
        counts = real.sum(-1).tolist()
        # a stable sort puts the real ones first, in order
        order = (~real).byte().argsort(dim=-1, stable=True)
        positions = part.positions[row if len(part.positions) > 1 else 0].expand_as(order)
        for count in sorted(set(counts)):
            mine = [i for i, own in enumerate(counts) if own == count]
            slots = order[mine, :count]
            attention = None if layer.attention is None else layer.attention[index][row, mine]
            yield _Held(
                tuple(part.heads[i] for i in mine),
                slots,
                positions[mine].gather(1, slots),
                None if attention is None else attention.gather(1, slots),
            )


def _view(held: _Held, layer: int, window: int, sample: int) -> View:
    """Return what a method scores: all but the window."""
    left = max(0, held.slots.shape[1] - window)
    attention = None if held.attention is None else held.attention[:, :left]
    return View(layer, held.heads, held.positions[:, :left], attention, sample)


def _check(found: Scores, method: Method, layer: int) -> None:
    """Raise unless scores rank positions; infinity may, NaN cannot."""
    if bool(found.scores.isnan().any()):
        raise NonFiniteError(
            f"{method.name} scores positions of layer {layer} by NaN: attention overflows, or the"
            " weights or inputs are not finite; use a wider dtype (bfloat16, float32)"
        )
