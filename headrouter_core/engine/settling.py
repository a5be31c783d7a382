"""At the end of a prefill or a ``generate``: whether what was chosen and computed is sound.

All of it is asked of the device at once, when it has all its work: an answer must not leave
unchecked, but no layer has to wait for that.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from headrouter_core.engine.choice.choosing import are_sound, check_selections
from headrouter_core.engine.finite import (
    check_sources,
    first_layer,
    raise_from,
    raise_overflow,
    usable,
)
from headrouter_core.engine.forwards import Forward, Generation, Prefill
from headrouter_core.engine.intake import Intake


def settle(intake: Intake, forward: Forward, output: Any) -> None:
    """Raise unless a forward's selections and its newest logits are sound.

    Args:
        intake: what read the forward.
        forward: of the model; where nothing was chosen in it, there is nothing to check.
        output: what the model returned.

    Raises:
        NonFiniteError: the logits of a row's newest token are not finite.
        SelectionError: the selector broke its contract.
    """
    if forward.unchecked is None:
        return
    prefill = forward.unchecked
    sound = are_sound(prefill.rows, prefill.selections)
    logits = _newest(output, prefill, pruned=forward.columns is not None)
    if logits is None:
        fine = sound
    else:
        told = usable(logits)
        fine = sound & told.all().to(sound.device, non_blocking=True)
    if bool(fine):
        return
    selector, root = intake.selector, intake.anatomy.root
    if logits is not None and not bool(told.all()):
        bad = [row for row, good in enumerate(told.tolist()) if not good]
        what = f"the logits of row {bad[0]} of {len(told)} are not finite"
        check_sources(what, root, forward.call)
        place = first_layer(forward.cache)
        if place is None or place >= intake.layer:
            check_selections(selector, prefill.rows, prefill.selections)
        where = None if place is None else f"the keys of layer {place}"
        raise_overflow(what, root, forward.call, where)
    check_selections(selector, prefill.rows, prefill.selections)


def note(generation: Generation, output: Any) -> None:
    """Note whether the newest logits of a step of ``generate`` are finite; nothing waits for it."""
    logits = _logits(output)
    if logits is not None:
        fine = usable(logits[:, -1]).all()
        generation.sound = fine if generation.sound is None else generation.sound & fine


def settle_steps(root: nn.Module, generation: Generation) -> None:
    """Raise unless the newest logits of every step of a ``generate`` that ended were finite.

    Raises:
        NonFiniteError: they were not.
    """
    if generation.sound is not None and not bool(generation.sound):
        raise_from("the logits behind a generated token are not finite", root, {})


def _logits(output: Any) -> torch.Tensor | None:
    """Return the logits [B, L, vocabulary] among what a model returned, if there are some."""
    logits: torch.Tensor | None = getattr(output, "logits", None)
    if logits is None and isinstance(output, tuple):
        return next((part for part in output if torch.is_tensor(part) and part.ndim == 3), None)
    return logits


def _newest(output: Any, prefill: Prefill, *, pruned: bool) -> torch.Tensor | None:
    """Return the logits [B, vocabulary] of each row's last real token, if the output holds some.

    What stands at padding may be anything. Pruned rows are padded on the left.
    """
    logits = _logits(output)
    if logits is None:
        return None
    batch, length = prefill.real.shape
    if pruned or logits.shape[1] != length:
        return logits[:, -1]
    # the last True: the first largest of the counts
    last = prefill.real.cumsum(1).argmax(1).to(logits.device, non_blocking=True)
    every = torch.arange(batch, device=logits.device)
    return logits[every, last]
