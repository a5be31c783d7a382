"""From what queries saw to what each row, layer and KV head keeps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

import torch

from headrouter_core.errors import NonFiniteError
from headrouter_core.eviction.budgets import Room
from headrouter_core.eviction.methods.base import Method, Scores, View
from headrouter_core.eviction.watching import Seen

Value = TypeVar("Value")


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
    counts = [
        _by_head((held.heads, [held.slots.shape[1]] * len(held.heads)) for held in layer)
        for layer in layers
    ]
    columns = [int(layer.real[row].sum()) for layer in seen]
    room = Room.of(columns, counts, budget, method.window)
    scores: list[list[torch.Tensor]] = []
    cutoffs: list[torch.Tensor] = []
    for index, layer in enumerate(layers):
        found = [method.score(_view(held, index, room.windows[index], sample)) for held in layer]
        for part in found:
            _check(part, method, index)
        heads = [held.heads for held in layer]
        scores.append(_by_head(zip(heads, (part.scores for part in found), strict=True)))
        cuts = [part.cutoff for part in found if part.cutoff is not None]
        if len(cuts) == len(found):
            cutoffs.append(torch.stack(_by_head(zip(heads, cuts, strict=True))))
    kept = method.share(room, scores)
    picked = [
        _by_head((held.heads, _pick(held, values, left)) for held in layer)
        for layer, values, left in zip(layers, scores, kept, strict=True)
    ]
    return Decision(
        slots=[[slots for slots, _ in layer] for layer in picked],
        columns=[[places for _, places in layer] for layer in picked],
        cutoff=tuple(cutoffs) if len(cutoffs) == len(layers) else None,
    )


def _pick(
    held: _Held, scores: Sequence[torch.Tensor], left: Sequence[int]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield slots and positions that stay, of one head after the other.

    Args:
        held: some heads of a layer.
        scores: [n], one a head of the layer.
        left: how many are to stay, one a head of the layer.
    """
    for index, head in enumerate(held.heads):
        best = chosen(scores[head], held.slots.shape[1], left[head])
        yield held.slots[index, best], held.positions[index, best]


def _by_head(parts: Iterable[tuple[tuple[int, ...], Iterable[Value]]]) -> list[Value]:
    """Return values of groups of heads, each with one a head, as one list of all heads."""
    made = {
        head: value for heads, values in parts for head, value in zip(heads, values, strict=True)
    }
    return [made[head] for head in sorted(made)]


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
