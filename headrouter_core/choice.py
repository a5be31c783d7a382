"""Asking a selector about one row, and holding it to its contract."""

from __future__ import annotations

import torch

from headrouter_core.errors import PruningError, SelectionError
from headrouter_core.prompt import Row
from headrouter_core.selectors.base import Need, Selection, Selector, View
from headrouter_core.trace import Entry


def choose(selector: Selector, row: Row, view: View) -> Selection:
    """Return what ``selector`` keeps of a row that has audio.

    Raises:
        PruningError: it reads text tokens, and the prompt has none.
        SelectionError: it broke its contract.
    """
    if selector.needs & Need.QUERIES_KEYS and not row.text.numel():
        if not row.pruned:
            return Selection(kept=torch.arange(row.kept, device=view.device))
        where = "" if selector.text_tokens == "all" else " after the audio"
        raise PruningError(
            f"{selector.name} reads the text of the prompt, and there is none{where}; "
            "put the question there, or use a selector that needs no text"
        )
    selection = selector(view, row.kept)
    check(selector, row, selection)
    return selection


def nothing(device: torch.device) -> Selection:
    """Return the selection of a row without audio."""
    return Selection(kept=torch.empty(0, dtype=torch.long, device=device))


def entry(row: Row, selection: Selection) -> Entry:
    """Return the trace entry of a row."""
    return Entry(
        kept=selection.kept,
        importance=selection.importance,
        spread=selection.spread,
        mixing=selection.mixing,
        audio_tokens=row.audio.numel(),
        prompt_length=row.prompt.numel(),
    )


def check(selector: Selector, row: Row, selection: Selection) -> None:
    """Raise unless a selection is what the contract asks for.

    Raises:
        SelectionError: not exactly k ascending, unique indices inside the audio, or states or
            importance of another length.
    """
    kept, total = selection.kept, row.audio.numel()
    if kept.dtype != torch.long or kept.shape != (row.kept,):
        _broke(selector, f"{kept.dtype} {list(kept.shape)}", f"a LongTensor [{row.kept}]")
    ends = kept[0] >= 0, kept[-1] < total
    if not bool(torch.stack([*ends, (kept.diff() > 0).all()]).all()):
        _broke(selector, f"the indices {kept.tolist()}", f"ascending ones from 0 to {total - 1}")
    if selection.importance is not None and selection.importance.shape != (total,):
        _broke(selector, f"importance {list(selection.importance.shape)}", f"[{total}]")
    if selection.states is not None and selection.states.shape[:1] != (row.kept,):
        _broke(selector, f"states {list(selection.states.shape)}", f"[{row.kept}, hidden size]")


def _broke(selector: Selector, found: str, wanted: str) -> None:
    raise SelectionError(
        f"selector {selector.name} returned {found} instead of {wanted}; fix the selector"
    )
