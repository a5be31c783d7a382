"""What the layers behind the pruning layer hold, and the caches that remember it.

Layers below M keep every token, layers from M on only the kept ones, left-padded to one length.
Everything that transformers counts (positions, lengths, its own masks) follows the former, so what
is in the latter has to be remembered: by the cache itself, since that is what outlives a forward.
"""

from __future__ import annotations

import functools
import weakref
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers.cache_utils import Cache, DynamicLayer

from headrouter_core.errors import PruningError
from headrouter_core.sessions import Session

_ATTRIBUTE = "_headrouter_columns"


class Lease:
    """The right to grow a pruned cache: who runs in the pruning context that it depends on has it.

    It also tells which model the cache is of, where that is known.
    """

    def __init__(self, model: nn.Module | None = None) -> None:
        self.session: Session | None = None
        """Of the pruning context; ``None`` where there was none yet."""
        self._model = None if model is None else weakref.ref(model)

    @property
    def held(self) -> bool:
        """Whether the caller runs in that context."""
        return self.session is not None and self.session.in_force

    def fits(self, model: nn.Module) -> bool:
        """Whether the cache can be this model's."""
        return self._model is None or self._model() is model

    def __deepcopy__(self, memo: dict[int, Any]) -> Lease:
        """Stay one object: a copied cache depends on the same context."""
        return self

    def __reduce__(self) -> Any:
        """Leave context and model behind, which another process does not have."""
        return Lease, ()


@dataclass(eq=False)
class Columns:
    """The columns of the sequence that layers from M on work on."""

    layer: int
    """M."""
    removed: int
    """How many columns shorter this sequence is than the unpruned one."""
    origin: torch.Tensor
    """LongTensor [B, P]: the unpruned column of each column of the pruned prompt."""
    valid: torch.Tensor | None
    """BoolTensor [B, n], False at padding, True beyond n; ``None``: no padding at all."""
    length: int
    """Columns so far: P and all that came behind the prompt."""
    lease: Lease = field(default_factory=Lease)

    def append(self, count: int, valid: torch.Tensor | None) -> None:
        """Take in ``count`` columns behind the others; ``valid`` [B, count] is False at padding."""
        if valid is not None:
            self.valid = torch.cat([self.padding(), valid.to(self.origin.device)], dim=1)
        self.length += count

    def padding(self) -> torch.Tensor:
        """Return the BoolTensor [B, length], False at padding."""
        known = self.valid
        if known is None:
            known = self.origin.new_ones(self.origin.shape[0], 0, dtype=torch.bool)
        return torch.nn.functional.pad(known, (0, self.length - known.shape[1]), value=True)

    def positions(self, length: int) -> torch.Tensor:
        """Return the unpruned columns [B, length] of the first ``length`` columns."""
        prompt = self.origin.shape[1]
        tail = torch.arange(prompt, max(length, prompt), device=self.origin.device) + self.removed
        return torch.cat([self.origin, tail.expand(self.origin.shape[0], -1)], dim=1)[:, :length]

    def select(self, rows: torch.Tensor) -> None:
        """Keep or reorder rows."""
        rows = rows.to(self.origin.device)
        self.origin = self.origin[rows]
        self.valid = None if self.valid is None else self.valid[rows]

    def crop(self, count: int) -> None:
        """Forget the last ``count`` columns.

        Raises:
            PruningError: they are not the last ``count`` columns of the unpruned sequence too.
        """
        left = self.length - count
        prompt = self.origin.shape[1]
        if left < prompt:
            tail = torch.arange(max(left, 0), prompt, device=self.origin.device) + self.removed
            if left < 0 or not bool((self.origin[:, left:] == tail).all()):
                raise PruningError(
                    f"cropping {count} tokens reaches into the pruned part of the prompt; "
                    "crop less, or start again with a new cache"
                )
            self.origin = self.origin[:, :left]
        self.valid = None if self.valid is None else self.valid[:, :left]
        self.length = left


class _PrunedCache(Cache):
    """A cache whose layers from M on are shorter; see :func:`remember`."""

    _headrouter_columns: Columns

    def update(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse to grow outside a pruning context, where masks would fit layers below M only."""
        if not self._headrouter_columns.lease.held:
            raise PruningError(
                "this cache was pruned, and no pruning context is open for it in this thread or "
                "task; continue inside `with prune(...)` on the same model and layer, or start with"
                " a new cache"
            )
        return super().update(*args, **kwargs)

    def crop(self, tokens_to_remove: int) -> None:
        """Crop every layer by the same number of tokens, however they are told to."""
        # transformers up to 5.x takes the length to be left as a positive number
        if tokens_to_remove > 0:
            tokens_to_remove -= int(self.get_seq_length())
        self._headrouter_columns.crop(-tokens_to_remove)
        super().crop(tokens_to_remove)

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        super().reorder_cache(beam_idx)
        self._headrouter_columns.select(beam_idx)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        super().batch_select_indices(indices)
        self._headrouter_columns.select(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        super().batch_repeat_interleave(repeats)
        columns = self._headrouter_columns
        every = torch.arange(columns.origin.shape[0], device="cpu")
        columns.select(every.repeat_interleave(repeats))

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
        del self._headrouter_columns


@functools.cache
def _pruned(cls: Any) -> type[Cache]:
    return type(f"Pruned{cls.__name__}", (_PrunedCache, cls), {})


def _restored(cls: Any, *arguments: Any) -> Cache:
    pruned: Any = _pruned(cls)
    return pruned.__new__(pruned, *arguments)  # type: ignore[no-any-return]


def remember(cache: Cache, columns: Columns) -> None:
    """Make ``cache`` carry ``columns``, keep them in step with it, and guard it from misuse.

    The cache is the caller's object, so it changes class in place. A wrapper would not be the
    object that the caller holds, and a bound method in its ``__dict__`` would keep gigabytes alive
    in a reference cycle.
    """
    cache.__class__ = _pruned(type(cache))  # type: ignore[arg-type]
    setattr(cache, _ATTRIBUTE, columns)


def recall(cache: Cache | None) -> Columns | None:
    """Return what :func:`remember` left in ``cache``, or ``None``."""
    return getattr(cache, _ATTRIBUTE, None)
