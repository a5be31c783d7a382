"""The audios of one prompt, each by itself: telling them apart, and choosing within each."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import torch

from headrouter_core.basics.arguments import shown, whole
from headrouter_core.engine.choice.choosing import choose, nothing
from headrouter_core.engine.choice.probe import Capture
from headrouter_core.engine.prompt.reading import Row
from headrouter_core.errors import UsageError
from headrouter_core.families.base import Family
from headrouter_core.selectors.base import Merge, Selection, Selector, View


def lengths(columns: torch.Tensor) -> list[int]:
    """Return how many audio tokens each audio of a prompt has: one audio is one run of columns.

    Args:
        columns: LongTensor [N_a], ascending: where the prompt's audio tokens are.
    """
    if not len(columns):
        return []
    ends = (columns.diff() != 1).nonzero()[:, 0] + 1
    cuts = [0, *ends.tolist(), len(columns)]
    return [after - before for before, after in itertools.pairwise(cuts)]


def counted(
    family: Family, rows: Sequence[Row], per_audio: bool | Sequence[Sequence[int]]
) -> list[list[int]] | None:
    """Return the audio tokens of each audio of each row; ``None``: a row shares one budget.

    Args:
        family: the model's.
        rows: one a prompt.
        per_audio: whether each audio has a budget, or, of each row, the tokens of each audio.

    Raises:
        UsageError: it is something else, does not fit the rows, or audios cannot be told apart.
    """
    if per_audio is False:
        return None
    if per_audio is True:
        if family.divided:
            raise UsageError(
                f"text stands inside the audio of {family.name}, so audios cannot be told apart;"
                " pass per_audio=[[tokens of each audio], ...], one list a row"
            )
        return [lengths(row.audio.cpu()) for row in rows]
    known = isinstance(per_audio, Sequence) and all(isinstance(row, Sequence) for row in per_audio)
    if not known or len(per_audio) != len(rows):
        raise UsageError(
            f"per_audio is {shown(per_audio)}; it must be a bool, or one list of counts for each of"
            f" {len(rows)} rows"
        )
    given = [[whole("a count of per_audio", count, 1) for count in each] for each in per_audio]
    for each, row in zip(given, rows, strict=True):
        if sum(each) != row.audio.numel():
            raise UsageError(f"per_audio says {each} of a row of {row.audio.numel()} audio tokens")
    return given


def part_of(view: View, start: int, count: int, sample: int) -> View:
    """Return the view of ``count`` audio tokens from ``start`` on, as if there were no others.

    Attention of the last token keeps its softmax over everything that the token sees.
    """
    part = slice(start, start + count)
    return replace(
        view,
        audio_tokens=count,
        sample=sample,
        keys=None if view.keys is None else view.keys[:, part],
        rotated_keys=None if view.rotated_keys is None else view.rotated_keys[:, part],
        last_attention=None if view.last_attention is None else view.last_attention[:, part],
        hidden_states=None if view.hidden_states is None else view.hidden_states[part],
    )


def joined(selections: Sequence[Selection], counts: Sequence[int]) -> Selection:
    """Return selections within audios of some counts of tokens as one of all their tokens.

    Each audio is routed for itself, so that several have no spread and no mixing.
    """
    if len(selections) == 1:
        return selections[0]
    kept, into, audio, stay = [], [], 0, 0
    for selection, count in zip(selections, counts, strict=True):
        kept.append(selection.kept + audio)
        if selection.merge is not None:
            into.append(selection.merge.into + stay)
        audio, stay = audio + count, stay + len(selection.kept)
    importances = [part.importance for part in selections if part.importance is not None]
    states = [part.states for part in selections if part.states is not None]
    shares = [part.merge.shares for part in selections if part.merge is not None]
    every = len(selections)
    return Selection(
        torch.cat(kept),
        importance=torch.cat(importances) if len(importances) == every else None,
        states=torch.cat(states) if len(states) == every else None,
        merge=Merge(torch.cat(into), torch.cat(shares)) if len(shares) == every else None,
    )


def choose_within_each(
    selector: Selector,
    rows: Sequence[Row],
    capture: Capture | None,
    hidden: torch.Tensor,
    counts: Sequence[Sequence[int]],
    kept: Sequence[Sequence[int]],
) -> list[Selection]:
    """Return what ``selector`` keeps of each row, where each audio has a budget of its own.

    Args:
        selector: the method.
        rows: one a prompt.
        capture: what they left in the probe layer; ``None`` if none of them has audio.
        hidden: the input of layer M.
        counts: audio tokens of each audio of each row.
        kept: how many of them to keep.

    Raises:
        PruningError, SelectionError: see :func:`choose_within`.
    """
    selections, audio = [], 0
    for index, (row, each, left) in enumerate(zip(rows, counts, kept, strict=True)):
        if capture is None or not each:
            selections.append(nothing(hidden.device))
            continue
        view = capture.view(index, hidden, sample=audio)
        selections.append(choose_within(selector, row, view, hidden.shape[-1], each, left))
        audio += len(each)
    return selections


def choose_within(
    selector: Selector, row: Row, view: View, width: int, counts: Sequence[int], kept: Sequence[int]
) -> Selection:
    """Return what ``selector`` keeps of a row, each of whose audios has a budget of its own.

    Args:
        selector: the method; it is called once an audio.
        row: the prompt.
        view: of all its audio tokens; its sample is the first audio's, and the others count on.
        width: D, the size of a token's state.
        counts: audio tokens of each audio, in order.
        kept: how many of them to keep.

    Raises:
        PruningError: it reads text tokens, and the prompt has none.
        SelectionError: what it returned has not the shape that the contract asks for.
    """
    chosen, start = [], 0
    for index, (count, k) in enumerate(zip(counts, kept, strict=True)):
        audio = row.audio[start : start + count]
        part = replace(row, audio=audio, kept=k)
        seen = part_of(view, start, count, view.sample + index)
        chosen.append(choose(selector, part, seen, width))
        start += count
    return joined(chosen, counts)
