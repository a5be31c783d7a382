"""One prompt looked at once, and its cache evicted from in many ways: for what is done offline."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache

from headrouter_core import families
from headrouter_core.engine.sessions.gates import hooked
from headrouter_core.engine.sessions.session import Session, Use
from headrouter_core.eviction.attention import attending
from headrouter_core.eviction.caches import take
from headrouter_core.eviction.deciding import decide
from headrouter_core.eviction.groups import Part
from headrouter_core.eviction.layer import HeldLayer
from headrouter_core.eviction.methods.base import Method, Need
from headrouter_core.eviction.watching import Seen, Watch, weights
from headrouter_core.families.base import Anatomy
from headrouter_core.families.calls import forward_of, with_cache


@dataclass(frozen=True, eq=False)
class Observed:
    """A prompt of one row that ran through a model: its whole cache, and what was seen."""

    output: Any
    """What the model returned."""
    cache: DynamicCache
    seen: Sequence[Seen]
    """One a layer."""

    def evicted(self, method: Method, budget: Fraction, sample: int = 0) -> DynamicCache:
        """Return a cache that holds what a method keeps of it; this one stays whole.

        The method has to go by attention that was looked at, or by none.
        """
        decision = decide(method, self.seen, 0, budget, sample)
        left = copy.deepcopy(self.cache)
        for layer, seen, slots in zip(left.layers, self.seen, decision.slots, strict=True):
            assert isinstance(layer, HeldLayer)
            layer.keep(seen.parts, [slots])
        return left

    def whole(self) -> DynamicCache:
        """Return a copy of the cache."""
        return copy.deepcopy(self.cache)


@dataclass(frozen=True, eq=False)
class Observer:
    """A model that is looked at."""

    anatomy: Anatomy
    session: Session

    def run(self, inputs: Mapping[str, torch.Tensor], watch: Watch) -> Observed:
        """Run a prompt of one row, on the model's device, and look at it."""
        cache = DynamicCache()
        layers, lease = take(cache, self.anatomy.root, len(self.anatomy.layers))
        lease.session = self.session
        for layer in layers:
            layer.watch = watch
        own = with_cache(forward_of(self.anatomy.root), cache)
        output = self.anatomy.root(**inputs, **own, use_cache=True)
        seen = [layer.seen for layer in layers if layer.seen is not None]
        for layer in layers:
            layer.watch = layer.seen = None
        return Observed(output, cache, seen)


@contextmanager
def observing(model: nn.Module) -> Iterator[Observer]:
    """Look at what runs through a model, for this thread or task, until the block ends.

    Raises:
        UnsupportedModelError: its attention cannot be looked at from outside.
        UsageError: this thread or task is evicting from the model already.
    """
    anatomy = families.locate(model)
    modules = [attention.module for attention in anatomy.attentions]
    with attending(modules), hooked(anatomy.root, {}, Use.EVICTING) as session, torch.no_grad():
        yield Observer(anatomy, session)


@dataclass(frozen=True)
class _Look(Watch):
    """A look at some queries, each by itself."""

    columns: tuple[int, ...] = ()

    def given(
        self, parts: list[Part], real: torch.Tensor, query: torch.Tensor, scale: float
    ) -> list[torch.Tensor]:
        """Return the attention of the queries at ``columns``: [B, h, G, q, C] a part."""
        columns = torch.tensor(self.columns, device=query.device)
        rows = columns.expand(len(query), -1)
        return [weights(part, query[:, :, columns], rows, scale) for part in parts]


def attention_of(
    model: nn.Module, inputs: Mapping[str, torch.Tensor], columns: Sequence[int]
) -> list[torch.Tensor]:
    """Return, for each layer, the attention [KV heads, query heads of one, q, L] of some queries.

    Args:
        model: a loaded model of a supported family.
        inputs: of one prompt of L tokens, on the model's device.
        columns: the queries' places in it.

    Raises:
        UnsupportedModelError, UsageError: see :func:`observing`.
    """
    with observing(model) as observer:
        seen = observer.run(inputs, _Look(Need.WINDOW, 0, tuple(columns))).seen
    return [layer.attention[0][0] for layer in seen if layer.attention is not None]
