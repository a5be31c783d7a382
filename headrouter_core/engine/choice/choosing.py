"""Asking a selector about one row, and holding it to its contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import torch

from headrouter_core.basics.arguments import shown
from headrouter_core.basics.precision import full_precision
from headrouter_core.engine.choice.probe import Capture
from headrouter_core.engine.choice.trace import Entry
from headrouter_core.engine.prompt.reading import Row
from headrouter_core.errors import PruningError, SelectionError, UsageError
from headrouter_core.profile.profile import Profile
from headrouter_core.routing import GROUPS, VECTORS
from headrouter_core.selectors.base import Merge, Need, Selection, Selector, View


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
        SelectionError: what it returned has not the shape that the contract asks for. The values
            themselves are for :func:`check_selections`, as they are on the device.
    """
    selections = []
    for index, row in enumerate(rows):
        if capture is None or not row.kept:
            selections.append(nothing(hidden.device))
            continue
        view = capture.view(index, hidden, sample=first + index)
        selections.append(choose(selector, row, view, hidden.shape[-1]))
    return selections


def choose(selector: Selector, row: Row, view: View, width: int) -> Selection:
    """Return what ``selector`` keeps of a row that has audio.

    Args:
        selector: the method; it runs without autocast.
        row: the prompt.
        view: what the method may see of it.
        width: D, the size of a token's state.

    Raises:
        PruningError: it reads text tokens, and the prompt has none.
        SelectionError: what it returned has not the shape that the contract asks for.
    """
    if selector.needs & Need.QUERIES_KEYS and not row.text.numel():
        if not row.pruned:
            return Selection(kept=torch.arange(row.kept, device=view.device))
        where = " after the audio" if selector.text_tokens == "after" else ""
        raise PruningError(
            f"{selector.name} reads the text of the prompt, and there is none{where}; "
            "put the question there, or use a selector that needs no text"
        )
    with full_precision(view.device):
        selection = selector(view, row.kept)
    check_shapes(selector, row, selection, view.device, width)
    return selection


def check_selector(selector: object) -> None:
    """Raise unless ``selector`` is one, made and not just named.

    Raises:
        UsageError: it is something else.
    """
    sound = (
        not isinstance(selector, type)
        and callable(selector)
        and isinstance(getattr(selector, "name", None), str)
        and isinstance(getattr(selector, "needs", None), Need)
        and isinstance(getattr(selector, "text_tokens", None), str)
    )
    if sound:
        return
    hint = "one has name, needs and text_tokens, and is called with a view and k"
    if isinstance(selector, type):
        hint = f"make one: {selector.__name__}(...)"
    elif isinstance(selector, str):
        hint = f"make one: get_selector({selector!r})(...)"
    elif isinstance(selector, Profile):
        hint = "make one of the profile: HeadRouter(profile)"
    raise UsageError(f"selector is {shown(selector)}, which is no selector; {hint}")


def nothing(device: torch.device) -> Selection:
    """Return the selection of a row without audio."""
    return Selection(kept=torch.empty(0, dtype=torch.long, device=device))


def entry(row: Row, selection: Selection) -> Entry:
    """Return the trace entry of a row."""
    return Entry(
        selection.kept,
        selection.importance,
        selection.spread,
        selection.mixing,
        audio_tokens=row.audio.numel(),
        prompt_length=row.prompt.numel(),
    )


def check_shapes(
    selector: Selector, row: Row, selection: Selection, device: torch.device, width: int
) -> None:
    """Raise unless a selection has the types, shapes and place that the contract asks for.

    Raises:
        SelectionError: it is none, not exactly k indices, something of another shape or dtype, or
            on another device than the view said.
    """
    if not isinstance(selection, Selection):
        _broke(selector, shown(selection), "a Selection")
    total, merge = row.audio.numel(), selection.merge
    # one share a vector: of the groups, and pooled if held
    pooled = getattr(selection.mixing, "shape", None) == (len(VECTORS),)
    parts: dict[str, tuple[Any, tuple[int, ...]]] = {
        "kept": (selection.kept, (row.kept,)),
        "importance": (selection.importance, (total,)),
        "spread": (selection.spread, ()),
        "mixing": (selection.mixing, (len(VECTORS if pooled else GROUPS),)),
        "states": (selection.states, (row.kept, width)),
    }
    if merge is not None:
        if not isinstance(merge, Merge) or selection.states is None:
            _broke(selector, f"as merge {shown(merge)}", "a Merge, beside states")
        parts |= {"merge.into": (merge.into, (total,)), "merge.shares": (merge.shares, (total,))}
    needed = ("kept", "merge.into", "merge.shares")
    for name, (part, shape) in parts.items():
        if part is None and name not in needed:
            continue
        indices = name in ("kept", "merge.into")
        fits = isinstance(part, torch.Tensor) and part.shape == shape
        if not fits or not (part.dtype == torch.long if indices else part.is_floating_point()):
            kind = "a LongTensor" if indices else "a floating tensor"
            _broke(selector, f"as {name} {shown(part)}", f"{kind} {list(shape)}")
        if part.device != device:
            _broke(selector, f"{name} on {part.device}", f"one on {device}, its view's device")


def are_sound(rows: Sequence[Row], selections: Sequence[Selection]) -> torch.Tensor:
    """Return, as a scalar tensor, whether :func:`check_selections` has nothing to say."""
    found: list[torch.Tensor] = []
    for row, selection in zip(rows, selections, strict=True):
        found += [_ascends(row, selection.kept), *_finite(selection).values()]
    return torch.stack(found).all()


def check_selections(
    selector: Selector, rows: Sequence[Row], selections: Sequence[Selection]
) -> None:
    """Raise unless kept indices ascend inside the audio, and scores are finite.

    Raises:
        SelectionError: some do not, or are not.
    """
    for row, selection in zip(rows, selections, strict=True):
        if not bool(_ascends(row, selection.kept)):
            wanted = f"ascending ones from 0 to {row.audio.numel() - 1}"
            _broke(selector, f"the indices {selection.kept.tolist()}", wanted)
        for name, finite in _finite(selection).items():
            if not bool(finite):
                if name == "merge":
                    wanted = f"finite shares that go into 0 to {row.kept - 1}"
                    _broke(selector, "a merge", f"one of {wanted}")
                _broke(selector, f"{name} with NaN or infinity", "finite numbers")


def _finite(selection: Selection) -> dict[str, torch.Tensor]:
    """Return, as scalar tensors, whether each part of a selection is finite."""
    found = {}
    for name in ("spread", "mixing", "states"):
        part = getattr(selection, name)
        if part is not None:
            found[name] = part.isfinite().all()
    if selection.importance is not None:  # in which NaN means: not scored
        scored = selection.importance.isfinite()
        found["importance"] = scored.any() & ~selection.importance.isinf().any()
    if selection.merge is not None:
        into = selection.merge.into
        inside = (into >= 0).all() & (into < len(selection.kept)).all()
        found["merge"] = inside & selection.merge.shares.isfinite().all()
    return found


def _ascends(row: Row, kept: torch.Tensor) -> torch.Tensor:
    """Return, as a scalar tensor, whether ``kept`` [k] ascends inside the row's audio."""
    bounded = torch.nn.functional.pad(kept, (1, 0), value=-1)
    bounded = torch.nn.functional.pad(bounded, (0, 1), value=row.audio.numel())
    return (bounded.diff() > 0).all()


def _broke(selector: Selector, found: str, wanted: str) -> NoReturn:
    raise SelectionError(
        f"selector {selector.name} returned {found} instead of {wanted}; fix the selector"
    )
