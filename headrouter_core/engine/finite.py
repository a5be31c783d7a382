"""Numbers that are not finite: noticing them, and saying where they came from.

Noticing costs next to nothing and waits for nobody. Finding the place is for the message of an
error, and may take as long as another forward.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import torch
from torch import nn

from headrouter_core.errors import NonFiniteError
from headrouter_core.profile.model_info import comparable


def usable(logits: torch.Tensor) -> torch.Tensor:
    """Return, for logits [..., vocabulary], whether they tell one token from another [...].

    NaN and infinity win a maximum. Minus infinity does not: models have it where a token is ruled
    out.
    """
    return logits.amax(-1).isfinite()


def raise_from(
    what: str, model: nn.Module, inputs: Mapping[str, Any], place: str | None = None
) -> NoReturn:
    """Raise an error that names a cause, as far as it shows without another run of the model.

    Args:
        what: what is wrong.
        model: the model that it happened in.
        inputs: what it was given, by name, as far as known.
        place: where it was first seen, if that is known.
    """
    check_sources(what, model, inputs)
    raise_overflow(what, model, inputs, place)


def raise_overflow(
    what: str, model: nn.Module, inputs: Mapping[str, Any], place: str | None
) -> NoReturn:
    """Raise an error where neither weights nor inputs are to blame, see :func:`check_sources`.

    Args:
        what: what is wrong.
        model: the model that it happened in.
        inputs: what it was given, by name.
        place: where it was first seen, if that is known.
    """
    largest = {name: tensor.abs().max().item() for name, tensor in _given(inputs)}
    given = ", ".join(f"{name} up to {value:.3g}" for name, value in largest.items())
    raise NonFiniteError(
        f"{what}{f'; first so: {place}' if place else ''}. Weights and inputs are finite"
        f"{f' ({given})' if given else ''}, so {getattr(model, 'dtype', 'its dtype')} overflows:"
        " use a wider dtype (bfloat16, float32), and check that the audio is scaled to [-1, 1]"
    )


def check_sources(what: str, model: nn.Module, inputs: Mapping[str, Any]) -> None:
    """Raise if the inputs or a weight are what is not finite.

    Args:
        what: what is wrong.
        model: the model that it happened in.
        inputs: what it was given, by name.

    Raises:
        NonFiniteError: they are.
    """
    for name, tensor in _given(inputs):
        if not bool(tensor.isfinite().all()):
            raise NonFiniteError(f"{what}: {name} holds NaN or infinity; check what it is made of")
    for name, weight in model.named_parameters():
        if comparable(weight) and not bool(weight.detach().isfinite().all()):
            raise NonFiniteError(
                f"{what}: the weight {name} holds NaN or infinity; the model's files are damaged,"
                " fetch them again",
                weight=name,
            )


def first_layer(cache: Any) -> int | None:
    """Return the first layer whose cached keys of the newest token are not finite, if one has some.

    Args:
        cache: what a forward of one row or of several, padded on the left, has filled.
    """
    for index, layer in enumerate(getattr(cache, "layers", ())):
        keys = getattr(layer, "keys", None)
        if isinstance(keys, torch.Tensor) and keys.ndim == 4 and keys.shape[2]:
            newest = int(layer.get_seq_length()) - 1
            if not bool(keys[:, :, newest].isfinite().all()):
                return index
    return None


def _given(inputs: Mapping[str, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the floating inputs of a model but for masks, which hold minus infinity."""
    for name, tensor in floats(inputs):
        if not name.endswith("mask"):
            yield name, tensor.detach()


def floats(inputs: Any, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the floating tensors in what a module takes or returns, each with a name."""
    if isinstance(inputs, torch.Tensor):
        if inputs.is_floating_point() and inputs.numel():
            yield name, inputs
    elif isinstance(inputs, Mapping):
        for key, value in inputs.items():
            yield from floats(value, name or str(key))
    elif isinstance(inputs, tuple | list):
        for value in inputs:
            yield from floats(value, name)
