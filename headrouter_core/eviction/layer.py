"""A cache layer whose heads hold different columns, in place of a ``DynamicLayer``.

Until the first eviction it is as long as the sequence, and attention sees what it always sees.
Afterwards keys and values lie in groups of heads, see ``groups``. What it is asked about its length
it answers for the whole sequence: positions, masks and croppings of transformers go by that.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers.cache_utils import DynamicLayer

from headrouter_core.engine.sessions.session import Session
from headrouter_core.errors import EvictionError
from headrouter_core.eviction.groups import Group, Part, gathered
from headrouter_core.eviction.watching import Seen, Watch


@dataclass(eq=False)
class Lease:
    """Who may add to the layers of one cache."""

    model: weakref.ref[nn.Module] | None
    """Whose keys and values these are; ``None`` where that is not known."""
    lengths: list[int] = field(default_factory=list)
    """Of all layers, after the last forward that ended."""
    session: Session | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Lease:
        """Copy for a copied cache, which is of the same model."""
        memo[id(self)] = made = Lease(self.model, list(self.lengths), self.session)
        return made

    def __reduce__(self) -> Any:
        """Leave behind what another process does not have."""
        return Lease, (None, self.lengths)


class HeldLayer(DynamicLayer):
    """One layer's keys and values, each head with the columns that it kept."""

    lease: Lease
    groups: list[Group] | None = None
    """``None`` before anything was evicted: keys and values are those of a ``DynamicLayer``."""
    watch: Watch | None = None
    """How the forward that runs is looked at, if it is."""
    seen: Seen | None = None
    """What it saw."""
    length: int = 0
    """Columns of the sequence, once something was evicted."""
    grown: int = 0
    """Columns that came since the last eviction."""
    notes: int = 0
    """How many queries since then are noted, where the cache will be evicted from again."""
    noted: torch.Tensor | None = None
    """[B, H, q, d]: the last of them."""

    @classmethod
    def of(cls, layer: DynamicLayer, lease: Lease) -> HeldLayer:
        """Return a layer that takes over what ``layer`` holds."""
        made = cls()
        made.lease = lease
        if layer.is_initialized and layer.keys is not None and layer.values is not None:
            made.lazy_initialization(layer.keys, layer.values)
            made.keys, made.values = layer.keys, layer.values
        return made

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> Any:
        """Add columns to every head; attention gets the layer itself, in the place of both.

        Raises:
            EvictionError: no context is open for it here.
        """
        session = self.lease.session
        if session is None or not session.in_force:
            raise EvictionError(
                "this cache was evicted from, and no such context is open for it in this thread or"
                " task; continue inside `with evict(...)`, or start with a new cache"
            )
        if self.groups is None:
            super().update(key_states, value_states)
            return self, self
        for group in self.groups:
            group.append(key_states, value_states, self.length)
        self.length += key_states.shape[2]
        self.grown += key_states.shape[2]
        return self, self

    def get_seq_length(self) -> int:
        """Return the columns of the sequence, evicted ones included."""
        return self.length if self.groups is not None else super().get_seq_length()

    def look(self, query: torch.Tensor, mask: Any, scale: float | None) -> None:
        """See what attention is given, if the forward that runs is looked at."""
        if self.notes:
            before = [] if self.noted is None else [self.noted]
            query = torch.cat([*before, query.detach()], 2)[:, :, -self.notes :]
            self.noted = query.clone()  # not a view, which would hold all that it is a part of
        if self.watch is not None:
            length = self.get_seq_length()
            self.seen = self.watch.look(self.parts, length, query, mask, scale)

    def parts(self, real: torch.Tensor) -> list[Part]:
        """Return what is held.

        Args:
            real: BoolTensor [B, n], False at the sequence's columns that are padding.
        """
        if self.groups is None:
            keys, values = self._states()
            heads, length = keys.shape[1:3]
            every = torch.arange(length, device=keys.device)[None, None]
            shown = real[:, None].expand(-1, heads, -1)
            return [Part(tuple(range(heads)), heads, keys, values, every, shown)]
        made, of = [], sum(len(group.heads) for group in self.groups)
        for group in self.groups:
            names = tuple(group.heads.tolist())
            shown = real[:, None].expand(-1, len(names), -1).gather(2, group.positions)
            shown = shown & group.filled()
            made.append(Part(names, of, group.keys, group.values, group.positions, shown))
        return made

    def keep(self, parts: Sequence[Part], kept: Sequence[Sequence[torch.Tensor]]) -> None:
        """Let go of everything but some slots of each row and head, see ``groups.gathered``."""
        self.length = self.get_seq_length()
        self.groups = gathered(parts, kept)
        self.keys = self.values = self.noted = None
        self.grown = 0

    def held_bytes(self) -> int:
        """Count the memory that it keeps alive, by storages and not by shapes."""
        if self.groups is not None:
            tensors = [tensor for group in self.groups for tensor in group.tensors()]
        else:
            tensors = [part for part in (self.keys, self.values) if part is not None]
        tensors += [] if self.noted is None else [self.noted]
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
        return sum(storages.values())

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last columns of the sequence; a positive number is how many are to stay."""
        length = self.get_seq_length()
        left = tokens_to_remove if tokens_to_remove > 0 else length + tokens_to_remove
        if left >= length:
            return
        self.lease.lengths = []
        if self.groups is None:
            super().crop(left - length)
            return
        for group in self.groups:
            group.crop(left)
        self.length, gone = left, length - left
        self.grown = max(0, self.grown - gone)
        if self.noted is not None:
            few = self.noted.shape[2] - gone
            self.noted = self.noted[:, :, :few].clone() if few > 0 else None

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """Have each row taken from another one."""
        self._move(lambda part: part.index_select(0, beam_idx.to(part.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each row."""
        self._move(lambda part: part.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep some rows."""
        self._move(lambda part: part[indices.to(part.device)])

    def _move(self, move: Callable[[torch.Tensor], torch.Tensor]) -> None:
        if self.groups is not None:
            for group in self.groups:
                group.choose(move)
            self.noted = None if self.noted is None else move(self.noted)
        elif self.get_seq_length():
            keys, values = self._states()
            self.keys, self.values = move(keys), move(values)

    def _states(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the keys and values of a layer that nothing was evicted from."""
        assert self.keys is not None
        assert self.values is not None
        return self.keys, self.values

    def offload(self) -> None:
        """Refuse: what is evicted from is small enough to stay.

        Raises:
            EvictionError: always.
        """
        raise EvictionError("a cache that is evicted from cannot be offloaded; pass another one")

    def reset(self) -> None:
        """Forget everything."""
        self.keys = self.values = self.groups = self.seen = self.noted = None
        self.length = self.grown = 0
        self.is_initialized, self.lease.lengths = False, []

    def __deepcopy__(self, memo: dict[int, Any]) -> HeldLayer:
        """Copy what is held, and nothing of a forward that runs."""
        made: HeldLayer = type(self).__new__(type(self))
        memo[id(self)] = made
        for name, value in vars(self).items():
            if name not in ("watch", "seen"):
                setattr(made, name, copy.deepcopy(value, memo))
        return made
