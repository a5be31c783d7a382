"""Caches that remember what was pruned: it is they that outlive a forward."""

from __future__ import annotations

import copy
import functools
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicLayer

from headrouter_core.engine.sessions.session import Session
from headrouter_core.engine.shortening.columns import Columns
from headrouter_core.errors import PruningError

_ATTRIBUTE = "_headrouter_memory"


@dataclass(eq=False)
class Memory:
    """What a pruned cache remembers."""

    columns: Columns
    model: weakref.ref[nn.Module] | None
    """Whose keys and values it holds; ``None`` where that is not known."""
    complete: bool = True
    """Whether all layers hold these columns; not from when a forward adds to one until it ends."""
    session: Session | None = None
    """In which a forward adds to them."""

    @property
    def grows(self) -> bool:
        """Whether a pruned forward of the caller adds to the cache."""
        return self.session is not None and self.session.in_force

    def __deepcopy__(self, memo: dict[int, Any]) -> Memory:
        """Copy the columns: a copied cache is of the same model."""
        return Memory(copy.deepcopy(self.columns, memo), self.model, self.complete, self.session)

    def __reduce__(self) -> Any:
        """Leave the model behind, which another process does not have."""
        return Memory, (self.columns, None, self.complete)

    def check_model(self, model: nn.Module) -> None:
        """Raise unless ``model`` can go on with the cache.

        Raises:
            PruningError: it is another model's, or a forward left its layers half filled.
        """
        if self.model is not None and self.model() is not model:
            raise PruningError(
                f"the cache was pruned on another {type(model).__name__} than it is continued on; "
                "start with a new cache"
            )
        self.check_state()

    def lend(self, session: Session | None) -> None:
        """Let a forward of ``session`` add to the layers."""
        self.session = session

    def change(self) -> None:
        """Take in that layers change, one after the other."""
        self.complete = False

    def end(self, columns: Columns) -> None:
        """Take in that all of them hold ``columns``."""
        self.columns, self.complete, self.session = columns, True, None

    def check_state(self) -> None:
        """Raise unless all layers hold what is remembered.

        Raises:
            PruningError: a forward left them half filled.
        """
        if not self.complete:
            raise PruningError(
                "a forward on this cache failed half-way, so some of its layers hold more tokens "
                "than others; start with a new cache"
            )


class _PrunedCache(Cache):
    """A cache whose layers from M on are shorter; see :func:`remember`."""

    _headrouter_memory: Memory

    def update(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse to grow but in a forward that is pruned: other masks would fit layers < M only."""
        if not self._headrouter_memory.grows:
            raise PruningError(
                "this cache was pruned, and no pruning context is open for it in this thread or "
                "task; continue inside `with prune(...)` on the same model and layer, or start with"
                " a new cache"
            )
        self._headrouter_memory.change()
        return super().update(*args, **kwargs)

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """Return the columns before a layer's queries, as models count them for their masks."""
        offset: int = super().get_query_offset(layer_idx)
        return offset + self._removed(layer_idx)

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Return the sizes of a layer's mask, as models make it: for the unpruned sequence.

        Layers from M on get masks of their own, but a model may measure the one of all its layers
        at one of these.
        """
        length, offset = super().get_mask_sizes(query_length, layer_idx)
        fixed = self.layers[layer_idx].is_compileable if layer_idx < len(self.layers) else True
        return length + (0 if fixed else self._removed(layer_idx)), offset

    def _removed(self, index: int) -> int:
        columns = self._headrouter_memory.columns
        short = columns.layer <= index < len(self.layers)
        return columns.removed if short and not self.is_sliding[index] else 0

    def crop(self, tokens_to_remove: int) -> None:
        """Crop every layer to the same columns of the unpruned sequence.

        Raises:
            PruningError: it reaches into a part of which rows kept different numbers of tokens.
        """
        memory = self._headrouter_memory
        memory.check_state()
        before = memory.columns
        # earlier versions take the length to be left as a positive number, and no more than is left
        count = before.whole - tokens_to_remove if tokens_to_remove > 0 else -tokens_to_remove
        after = before.cropped(max(count, 0))
        memory.change()
        if after.removed == before.removed:
            super().crop(after.whole - before.whole)
        else:
            layers: Any = self.layers
            for index, layer in enumerate(layers):
                short = index >= before.layer
                layer.crop(after.length - before.length if short else after.whole - before.whole)
        memory.end(after)

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        super().reorder_cache(beam_idx)
        self._select(beam_idx)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        super().batch_select_indices(indices)
        self._select(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        super().batch_repeat_interleave(repeats)
        every = torch.arange(len(self._headrouter_memory.columns.origin), device="cpu")
        self._select(every.repeat_interleave(repeats))

    def _select(self, rows: torch.Tensor) -> None:
        memory = self._headrouter_memory
        memory.columns = memory.columns.select(rows)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Copy and pickle by the class that can be imported."""
        made: Any = super().__reduce_ex__(protocol)
        _, (_, *arguments), *state = made
        return _restored, (type(self).__bases__[1], *arguments), *state

    def reset(self) -> None:
        super().reset()  # type: ignore[no-untyped-call]
        for layer in self.layers:
            if isinstance(layer, DynamicLayer):
                # earlier versions only zero the states, and so keep their length
                layer.keys = layer.values = None
                layer.is_initialized = False
        self.__class__ = type(self).__bases__[1]
        del self._headrouter_memory


@functools.cache
def _pruned(cls: Any) -> type[Cache]:
    return type(f"Pruned{cls.__name__}", (_PrunedCache, cls), {})


def _restored(cls: Any, *arguments: Any) -> Cache:
    pruned: Any = _pruned(cls)
    return pruned.__new__(pruned, *arguments)  # type: ignore[no-any-return]


def remember(cache: Cache, columns: Columns, model: nn.Module) -> Memory:
    """Make ``cache`` carry ``columns``, keep them in step with it, and guard it from misuse.

    The cache is the caller's object, so it changes class in place. A wrapper would not be the
    object that the caller holds, and a bound method in its ``__dict__`` would keep gigabytes alive
    in a reference cycle.
    """
    if recall(cache) is None:
        cache.__class__ = _pruned(type(cache))  # type: ignore[arg-type]
    memory = Memory(columns, weakref.ref(model))
    setattr(cache, _ATTRIBUTE, memory)
    return memory


def recall(cache: Cache | None) -> Memory | None:
    """Return what :func:`remember` left in ``cache``, or ``None``."""
    return getattr(cache, _ATTRIBUTE, None)


def check_level(cache: Cache, layer: int, first: int, count: int) -> None:
    """Raise unless all layers of a cache that nothing was pruned of have been of one length.

    Args:
        cache: before layer ``layer`` of a forward adds to it; those before it did.
        layer: M.
        first: columns that were there.
        count: columns of the forward.

    Raises:
        PruningError: they have not, as after a forward that failed half-way.
    """
    for index, held in _lengths(cache, empty_from=layer):
        before = int(held) - (count if index < layer else 0)
        if before != first:
            raise PruningError(
                f"layer {index} of the cache held {before} tokens and the first one {first}, as "
                "after a forward that failed half-way; start with a new cache"
            )


def check_lengths(cache: Cache, columns: Columns) -> None:
    """Raise unless the layers of a cache hold what a forward should have left in them.

    Raises:
        PruningError: they do not, as those of a cache that forgets or merges tokens by itself.
    """
    for index, held in _lengths(cache):
        wanted = columns.length if index >= columns.layer else columns.whole
        # tensors are of static caches: looking at them would wait for the device
        if isinstance(held, int) and held != wanted:
            kind = type(cache).__bases__[1].__name__  # what it was before it was pruned
            raise PruningError(
                f"layer {index} of the cache, {kind}, holds {held} tokens instead of "
                f"{wanted}; pass a cache that keeps every token, as DynamicCache does"
            )


def _lengths(cache: Cache, empty_from: int | None = None) -> Iterator[tuple[int, Any]]:
    """Yield index and length of every layer that holds something of its own.

    Args:
        cache: the cache.
        empty_from: the first layer of those that count, with length 0, where nothing was put yet.
    """
    for index, layer in enumerate(cache.layers):
        counts = empty_from is not None and index >= empty_from
        if isinstance(layer, CacheLayerMixin) and (layer.is_initialized or counts):
            yield index, layer.get_seq_length()
