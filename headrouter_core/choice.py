"""Asking a selector about one row, and holding it to its contract."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from headrouter_core.capture import Capture
from headrouter_core.errors import PruningError, SelectionError
from headrouter_core.prompt import Row
from headrouter_core.selectors.base import Need, Selection, Selector, View
from headrouter_core.trace import Entry


def choose_each(
    selector: Selector,
    rows: Sequence[Row],
    capture: Capture | None,
    hidden: torch.Tensor,
    *,
    first: int,
) -> list[Selection]:
    """Return what ``selector`` keeps of each row.

    Args:
        selector: the method.
        rows: one a prompt.
        capture: what they left in the probe layer; ``None`` if none of them has audio.
        hidden: the input of layer M.
        first: number of the first row, see :attr:`View.sample`.

    Raises:
        PruningError: it reads text tokens, and a prompt has none.
        SelectionError: what it returned has not the shape that the contract asks for. The indices
            themselves are for :func:`check_indices`.
    """
    selections = []
    for index, row in enumerate(rows):
        if capture is None or not row.kept:
            selections.append(nothing(hidden.device))
            continue
        view = capture.view(index, hidden, sample=first + index)
        selections.append(choose(selector, row, view))
    return selections


def choose(selector: Selector, row: Row, view: View) -> Selection:
    """Return what ``selector`` keeps of a row that has audio.

    Raises:
        PruningError: it reads text tokens, and the prompt has none.
        SelectionError: what it returned has not the shape that the contract asks for.
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
    check_shapes(selector, row, selection)
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


def check_shapes(selector: Selector, row: Row, selection: Selection) -> None:
    """Raise unless a selection has the shapes that the contract asks for.

    Raises:
        SelectionError: not exactly k indices, or states or importance of another length.
    """
    kept, total = selection.kept, row.audio.numel()
    if kept.dtype != torch.long or kept.shape != (row.kept,):
        _broke(selector, f"{kept.dtype} {list(kept.shape)}", f"a LongTensor [{row.kept}]")
    if selection.importance is not None and selection.importance.shape != (total,):
        _broke(selector, f"importance {list(selection.importance.shape)}", f"[{total}]")
    if selection.states is not None and selection.states.shape[:1] != (row.kept,):
        _broke(selector, f"states {list(selection.states.shape)}", f"[{row.kept}, hidden size]")


def check_indices(selector: Selector, rows: Sequence[Row], selections: Sequence[Selection]) -> None:
    """Raise unless kept indices ascend inside the audio.

    This waits for the device, so it is for when the device has all its work: an answer must not
    leave unchecked, but no layer has to wait for that.

    Raises:
        SelectionError: some do not.
    """
    chosen = [pair for pair in zip(rows, selections, strict=True) if pair[0].kept]
    sound = [_ascends(row, selection.kept) for row, selection in chosen]
    if not sound or bool(torch.stack(sound).all()):
        return
    for (row, selection), fine in zip(chosen, sound, strict=True):
        if not bool(fine):
            wanted = f"ascending ones from 0 to {row.audio.numel() - 1}"
            _broke(selector, f"the indices {selection.kept.tolist()}", wanted)


def _ascends(row: Row, kept: torch.Tensor) -> torch.Tensor:
    """Return, as a scalar tensor, whether ``kept`` [k] ascends inside the row's audio."""
    bounded = torch.nn.functional.pad(kept, (1, 0), value=-1)
    bounded = torch.nn.functional.pad(bounded, (0, 1), value=row.audio.numel())
    return (bounded.diff() > 0).all()


def _broke(selector: Selector, found: str, wanted: str) -> None:
    raise SelectionError(
        f"selector {selector.name} returned {found} instead of {wanted}; fix the selector"
    )
