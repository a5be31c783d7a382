"""Where in a model numbers ceased to be finite, found by one more run for an error's message."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

import torch
from torch import nn

from headrouter_core.engine.finite import check_sources, floats, raise_overflow, usable
from headrouter_core.engine.sessions.gates import hooked
from headrouter_core.engine.sessions.session import Hook, Moment, Place


def check_usable(model: nn.Module, logits: torch.Tensor, inputs: Mapping[str, Any]) -> None:
    """Raise unless all logits [..., vocabulary] are usable; waits for the device.

    Args:
        model: whose they are.
        logits: of one row without padding.
        inputs: of the forward that they come from.

    Raises:
        NonFiniteError: some are not; it says where that began.
    """
    if not bool(usable(logits).all()):
        raise_found("the logits are not finite", model, inputs)


def raise_found(what: str, model: nn.Module, inputs: Mapping[str, Any]) -> NoReturn:
    """Raise an error that says where numbers ceased to be finite; may run the model once more.

    Args:
        what: what is wrong.
        model: the model that it happened in.
        inputs: what it was given, by name: one row without padding.
    """
    check_sources(what, model, inputs)
    raise_overflow(what, model, inputs, _first_module(model, inputs))


def _first_module(model: nn.Module, inputs: Mapping[str, Any]) -> str | None:
    """Return the name of the first part that puts out what is not finite."""
    found: list[str] = []

    def look(name: str, module: nn.Module, args: Any, output: Any) -> None:
        if any(not bool(tensor.isfinite().all()) for _, tensor in floats({"": output})):
            found.append(name)
            raise _Found

    # others may run the model meanwhile, and notice nothing
    hooks: dict[Place, Hook] = {
        (module, Moment.AFTER): partial(look, name) for name, module in model.named_modules()
    }
    with suppress(_Found), torch.no_grad(), hooked(model, hooks):
        model(**{**inputs, "use_cache": False})
    return found[0] if found else None


class _Found(Exception):
    """There is no need to run any further."""
