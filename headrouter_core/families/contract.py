"""What the engine relies on in transformers: verified when a model is opened, and while it runs.

A release that keeps to it works, whichever its number; one that does not is refused, and is never
silently wrong. What only a forward can show (that a layer is given the cache, how many tokens it is
given) is verified in each.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Collection, Mapping
from typing import Any, NoReturn

import torch
import transformers
from torch import nn
from transformers.cache_utils import Cache, EncoderDecoderCache
from transformers.masking_utils import create_causal_mask

from headrouter_core.errors import PruningError, UnsupportedModelError
from headrouter_core.families.calls import Parameters, cache_name, forward_of

#: Arguments of decoder layers whose meaning is known. Others may be given, but nothing for each
#: token, which would have to be left out with the tokens.
_LAYER = ("hidden_states", "attention_mask", "position_embeddings")
_KNOWN = {*_LAYER, "position_ids", "cache"}
_MASK = {"config", "inputs_embeds", "attention_mask", "and_mask_function"}
_CACHE = (
    "update",
    "crop",
    "reset",
    "reorder_cache",
    "batch_select_indices",
    "batch_repeat_interleave",
    "get_seq_length",
    "get_mask_sizes",
    "get_query_offset",
)


def broken(what: str) -> NoReturn:
    """Refuse a model or transformers that does not keep to the contract."""
    raise UnsupportedModelError(
        f"transformers {transformers.__version__} does not keep what pruning relies on: {what}; "
        "use a version that headrouter was tested with (see constraints.txt)"
    )


@functools.cache
def check_library() -> None:
    """Raise unless masks and caches of the installed transformers are used as is relied on.

    Raises:
        UnsupportedModelError: they are not.
    """
    names = inspect.signature(create_causal_mask).parameters
    if missing := sorted(_MASK - set(names)):
        broken(f"create_causal_mask takes no {', '.join(missing)}")
    if cache_name(create_causal_mask) is None:
        broken("create_causal_mask takes no cache")
    if missing := [name for name in _CACHE if not callable(getattr(Cache, name, None))]:
        broken(f"caches have no {', '.join(missing)}")


def check_model(
    root: nn.Module, layers: nn.ModuleList, attentions: list[nn.Module], per_token: tuple[str, ...]
) -> None:
    """Raise unless a model's parts take, by name, what is read and changed in their calls.

    Args:
        root: the model.
        layers: its decoder layers.
        attentions: one a layer.
        per_token: arguments of layers, besides the usual ones, that are left out with tokens.

    Raises:
        UnsupportedModelError: they do not.
    """
    check_library()
    _check_takes(root, ("input_ids", "inputs_embeds", "attention_mask", "cache"))
    # models have layers and attentions of one or two classes
    for layer in {type(layer): layer for layer in layers}.values():
        _check_takes(layer, (*_LAYER, *per_token, "cache"))
        if Parameters(layer).names[0] != "hidden_states":
            broken(f"{type(layer).__name__} takes {Parameters(layer).names[0]} first")
    for attention in {type(part): part for part in attentions}.values():
        _check_takes(attention, ("position_embeddings",))
        if not hasattr(getattr(attention, "config", None), "_attn_implementation"):
            broken(f"{type(attention).__name__} names no attention implementation")


def _check_takes(module: nn.Module, names: tuple[str, ...]) -> None:
    taken = {*Parameters(module).names}
    taken |= {"cache"} if cache_name(forward_of(module)) else set()
    if missing := [name for name in names if name not in taken]:
        broken(f"{type(module).__name__} takes no {', '.join(missing)}")


def check_call(layer: nn.Module, call: Mapping[str, Any], cache: Any) -> None:
    """Raise unless a decoder layer is given what is relied on.

    Args:
        layer: the layer.
        call: its arguments by name.
        cache: what the layers before were given.

    Raises:
        UnsupportedModelError: it is not.
        PruningError: a cache of a kind that cannot be pruned.
    """
    name = type(layer).__name__
    if missing := [part for part in _LAYER if part not in call]:
        broken(f"{name} is called without {', '.join(missing)}")
    hidden = call["hidden_states"]
    if not isinstance(hidden, torch.Tensor) or hidden.ndim not in (3, 4):
        broken(f"{name} is given hidden states that are no tensor [B, L, D]")
    if call.get("cache") is not cache:
        broken(f"{name} is not given the cache that the model runs on")
    check_cache(cache)


def check_cache(cache: Any) -> None:
    """Raise unless a cache, if there is one, is of a kind that can be pruned.

    Raises:
        PruningError: it is none of transformers, or an encoder's is part of it.
    """
    if cache is None or (isinstance(cache, Cache) and not isinstance(cache, EncoderDecoderCache)):
        return
    raise PruningError(
        f"the cache is a {type(cache).__name__}, which cannot be pruned; pass a DynamicCache, a"
        " StaticCache or another Cache of transformers"
    )


def check_tokens(layer: nn.Module, call: Mapping[str, Any], moved: Collection[str]) -> None:
    """Raise if a layer is given something for each token that would not be left out with it.

    Args:
        layer: the pruning layer.
        call: its arguments by name.
        moved: those that are left out with the tokens, or that the model's caller passed through.

    Raises:
        UnsupportedModelError: it is.
    """
    rows, length = call["hidden_states"].shape[-3:-1]
    for name, value in call.items():
        if not isinstance(value, torch.Tensor) or name in _KNOWN or name in moved:
            continue
        shape = tuple(value.shape)
        if (shape[-2:-1] == (length,) and len(shape) > 2) or shape in ((rows, length), (1, length)):
            broken(f"{type(layer).__name__} is given {name} {list(shape)}, one for each token")


def check_moved(layer: nn.Module, name: str, value: Any, tokens: int) -> None:
    """Raise unless an argument that goes with the tokens has as many columns as there are.

    Raises:
        UnsupportedModelError: it has others.
    """
    parts = value if isinstance(value, tuple | list) else (value,)
    for part in parts:
        if part is not None and (part.ndim < 3 or part.shape[-2] != tokens):
            broken(
                f"{type(layer).__name__} is given {name} {list(part.shape)} for {tokens} tokens, "
                "which are not counted in its last dimension but one"
            )


def check_returned(output: Mapping[str, Any] | tuple[Any, ...], cache: Any) -> None:
    """Raise unless a model returns no other cache than its layers were given.

    Raises:
        UnsupportedModelError: it does.
    """
    parts = output.values() if isinstance(output, Mapping) else output
    caches = [part for part in parts if isinstance(part, Cache)]
    if any(part is not cache for part in caches):
        broken("the model returns a cache that its layers were not given")
