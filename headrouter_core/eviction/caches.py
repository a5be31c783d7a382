"""Which caches can be evicted from, and making one so."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers.cache_utils import (
    Cache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    EncoderDecoderCache,
)

from headrouter_core.engine.shortening.memory import recall
from headrouter_core.errors import EvictionError
from headrouter_core.eviction.layer import HeldLayer, Lease


def take(cache: Any, model: nn.Module, layers: int) -> tuple[Sequence[HeldLayer], Lease]:
    """Put layers of ours into a cache, unless they are there already.

    Args:
        cache: what a decoder layer is given.
        model: whose cache it is.
        layers: how many it has.

    Raises:
        EvictionError: it is of a kind that cannot be evicted from, of another model, or a forward
            left it half filled.
    """
    if not isinstance(cache, Cache) or isinstance(cache, EncoderDecoderCache):
        what = "no cache" if cache is None else f"a {type(cache).__name__}"
        raise EvictionError(
            f"the model runs on {what}, of which nothing can be evicted; pass use_cache=True, and a"
            " DynamicCache if any"
        )
    if getattr(cache, "offloading", False):
        raise EvictionError(
            "the cache is offloaded, and what is evicted from is small enough to stay; pass a plain"
            " DynamicCache"
        )
    held = [layer for layer in cache.layers if isinstance(layer, HeldLayer)]
    if held and len(held) == len(cache.layers) == layers:
        lease = held[0].lease
        _check(cache, held, lease, model)
        return held, lease
    lease = Lease(weakref.ref(model))
    while len(cache.layers) < layers:
        cache.layers.append(DynamicLayer())
    for index, layer in enumerate(cache.layers):
        if type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer):
            raise EvictionError(
                f"layer {index} of the cache is a {type(layer).__name__}, which cannot give memory"
                " back head by head (a static one holds its whole length from the start); pass a"
                " DynamicCache"
            )
    made = [HeldLayer.of(layer, lease) for layer in cache.layers]  # type: ignore[arg-type]
    cache.layers[:] = made
    lease.lengths = [layer.get_seq_length() for layer in made]
    _check(cache, made, lease, model)
    return made, lease


def _check(cache: Cache, layers: Sequence[HeldLayer], lease: Lease, model: nn.Module) -> None:
    if lease.model is not None and lease.model() is not model:
        raise EvictionError(
            f"the cache is of another {type(model).__name__} than it is continued on; start with a"
            " new cache"
        )
    lengths = [layer.get_seq_length() for layer in layers]
    level = recall(cache) is not None or len(set(lengths)) == 1  # prune checks what it shortened
    if not level or (lease.lengths and lease.lengths != lengths):
        raise EvictionError(
            "a forward on this cache failed half-way, so some of its layers hold more tokens than"
            " others; start with a new cache"
        )


def origins(cache: Cache, layer: int, length: int, device: torch.device) -> torch.Tensor:
    """Return which column of the unpruned sequence each of a layer's columns is, [B or 1, n]."""
    memory = recall(cache)
    if memory is None or layer < memory.columns.layer:
        return torch.arange(length, device=device)[None]
    return memory.columns.positions(length).to(device)
