"""The hooks of one eviction context: what happens to a cache before and behind a forward pass.

A forward that brings a prompt is watched: its attention is as it always is, and what the method
goes by is taken on the way. When it ends, each layer and KV head keeps what the method chose. All
other forwards add their columns to every head; of an answer that is evicted from as it grows their
queries are noted, and the one that fills the measure is watched like a prompt, by all of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import nn

from headrouter_core.engine.sessions.gates import hooked
from headrouter_core.engine.sessions.session import Hook, Moment, Place, Session, Use
from headrouter_core.errors import EvictionError
from headrouter_core.eviction.attention import attending
from headrouter_core.eviction.caches import origins, take
from headrouter_core.eviction.deciding import Decision, decide
from headrouter_core.eviction.layer import HeldLayer, Lease
from headrouter_core.eviction.methods.base import Method
from headrouter_core.eviction.trace import Eviction, Evictions
from headrouter_core.eviction.watching import Seen, Watch
from headrouter_core.families.base import Anatomy
from headrouter_core.families.calls import Parameters


@dataclass
class Generation:
    """One running call of ``generate``."""

    rows: int
    """Prompts that it was given; 0 where that is not known."""
    length: int
    """Columns of them; 0 where that is not known."""
    cache: Any = None
    """What its forwards are given; other forwards inside it are of other prompts."""
    forwards: int = 0


@dataclass
class Forward:
    """One call of the model."""

    cache: Any
    layers: Sequence[HeldLayer]
    lease: Lease
    apart: int
    """Rows that are evicted from, each by itself, when it ends; 0: none. Beams of a prompt are one
    row while they are the same."""


class Engine:
    """Evicts from the caches that one model fills in its session, from whichever thread."""

    def __init__(
        self,
        anatomy: Anatomy,
        method: Method,
        budget: Fraction,
        every: int | None,
        trace: Evictions,
    ) -> None:
        """Set up; nothing is attached yet.

        Args:
            anatomy: the model's.
            method: chooses what is kept.
            budget: fraction of a layer's columns, in (0, 1].
            every: columns behind a prompt after which to evict again; ``None``: never.
            trace: where entries go.
        """
        self.trace = trace
        self.seen = False
        """Whether a prompt began."""
        self.done = False
        """Whether one was evicted from."""
        self._anatomy = anatomy
        self._method = method
        self._budget = budget
        self._every = every
        self._watch = Watch(method.needs, method.window)
        self._parameters = Parameters(anatomy.root)
        self._first = Parameters(anatomy.layers[0])
        self._session: Session | None = None
        self._local = threading.local()

    @contextmanager
    def attached(self) -> Iterator[Session]:
        """Be in force on the model, for this thread or task."""
        hooks: dict[Place, Hook] = {
            (self._anatomy.root, Moment.GENERATE): self._generate,
            (self._anatomy.root, Moment.BEFORE): self._enter,
            (self._anatomy.layers[0], Moment.BEFORE): self._start,
            (self._anatomy.root, Moment.AFTER): self._leave,
        }
        modules = [attention.module for attention in self._anatomy.attentions]
        with attending(modules), hooked(self._anatomy.root, hooks, Use.EVICTING) as session:
            self._session = session
            yield session

    @property
    def _generation(self) -> Generation | None:
        return getattr(self._local, "generation", None)

    def _generate(
        self,
        generate: Callable[..., Any],
        inputs: torch.Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """In place of the model's ``generate``: know its prompts while it runs."""
        ids = kwargs.get("input_ids") if inputs is None else inputs
        ids = kwargs.get("inputs_embeds") if ids is None or not ids.shape[1] else ids
        outer = self._generation
        shape = (0, 0) if ids is None else ids.shape[:2]
        self._local.generation = Generation(*shape)
        try:
            return generate(inputs, *args, **kwargs)
        finally:
            self._local.generation = outer

    def _enter(self, root: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before the model: refuse what cannot be put out."""
        self._local.forward = None
        call = self._parameters.read(args, kwargs)
        config: Any = root.config
        asked = call.get("output_attentions")
        if asked or (asked is None and getattr(config, "output_attentions", False)):
            raise EvictionError(
                "attention to what was evicted cannot be put out; pass output_attentions=False"
            )

    def _start(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before the first layer: from here on the cache changes."""
        call = self._first.read(args, kwargs)
        rows, count = call["hidden_states"].shape[-3:-1]
        cache = call.get("cache")
        layers, lease = take(cache, self._anatomy.root, len(self._anatomy.layers))
        before = layers[0].get_seq_length()
        apart = self._prompts(cache, rows, count, before)
        notes = 0
        if apart:
            self.seen = True
        elif self._every is not None and layers[0].groups is not None:
            notes = self._watch.queries(self._every + count)
            apart = rows if layers[0].grown + count >= self._every else 0
        if apart:
            self._check_windows(before + count)
        for held in layers:
            held.watch, held.seen, held.notes = self._watch if apart else None, None, notes
        lease.session = self._session
        self._local.forward = Forward(cache, layers, lease, apart)

    def _prompts(self, cache: Any, rows: int, count: int, before: int) -> int:
        """Return how many prompts a forward brings; 0 where it goes on behind one.

        Args:
            cache: that it runs on.
            rows: of the forward.
            count: columns that it brings.
            before: columns that the cache held.

        Raises:
            EvictionError: it brings a part of a prompt, or drafts behind one.
        """
        generation = self._generation
        if generation is not None and not generation.forwards:
            generation.cache = cache
        if generation is None or generation.cache is not cache or not generation.rows:
            return rows if count > 1 or not before else 0
        generation.forwards += 1
        if generation.forwards > 1:
            return 0
        whole = generation.length
        # generate may be given the whole conversation, or what is new behind its cache
        if whole not in (count, before + count) or rows % generation.rows:
            raise EvictionError(
                f"a forward brings {count} tokens of a prompt of {whole}, and what to keep cannot"
                " be chosen from a part, or with drafts behind it; generate without"
                " prefill_chunk_size and without an assistant"
            )
        return generation.rows

    def _check_windows(self, length: int) -> None:
        """Refuse layers that forget by themselves what is further away than their window."""
        for index, attention in enumerate(self._anatomy.attentions):
            if attention.window is not None and length > attention.window:
                raise EvictionError(
                    f"layer {index} sees {attention.window} tokens back and the prompt has"
                    f" {length}: such a layer forgets by itself; evict from shorter"
                    " prompts, or not at all"
                )

    def _leave(self, root: nn.Module, args: Any, output: Any) -> None:
        """After the model: let each head keep its share of a prompt, or of what grew behind one."""
        forward: Forward | None
        forward, self._local.forward = getattr(self._local, "forward", None), None
        if forward is None:
            raise EvictionError(
                "the decoder's first layer was not reached: something (a compiled graph?) calls"
                " layers without their hooks; open the context before compiling"
            )
        if forward.apart:
            self._evict(forward)
        forward.lease.lengths = [layer.get_seq_length() for layer in forward.layers]
        forward.lease.session = None

    def _evict(self, forward: Forward) -> None:
        layers = forward.layers
        seen = [self._seen(index, layer) for index, layer in enumerate(layers)]
        rows = len(seen[0].real)
        expand = rows // forward.apart
        before = sum(layer.held_bytes() for layer in layers)
        decisions = [
            decide(self._method, seen, row, self._budget, self.trace.total + index)
            for index, row in enumerate(range(0, rows, expand))
        ]
        for index, layer in enumerate(layers):
            kept = [decisions[row // expand].slots[index] for row in range(rows)]
            layer.keep(seen[index].parts, kept)
            layer.watch = layer.seen = None
        held = sum(layer.held_bytes() for layer in layers)
        self.done = True
        self.trace._extend(
            self._entry(
                forward.cache,
                seen,
                index * expand,
                decision,
                (before // forward.apart, held // forward.apart),
            )
            for index, decision in enumerate(decisions)
        )

    def _seen(self, index: int, layer: HeldLayer) -> Seen:
        if layer.seen is None:
            raise EvictionError(
                f"nothing was seen of the attention of layer {index}: something (a compiled graph?)"
                " calls another attention than it is told; open the context before compiling"
            )
        return layer.seen

    def _entry(
        self,
        cache: Any,
        seen: Sequence[Seen],
        row: int,
        decision: Decision,
        size: tuple[int, int],
    ) -> Eviction:
        """Tell what became of a row, by positions among its tokens."""
        real = seen[0].real[row]  # layers before a pruning layer have all of them
        ranks = real.cumsum(0) - 1
        kept = []
        for index, columns in enumerate(decision.columns):
            origin = origins(cache, index, seen[index].real.shape[1], real.device)
            place = ranks[origin[row if len(origin) > 1 else 0].to(real.device)]
            kept.append(tuple(place[part.to(place.device)] for part in columns))
        return Eviction(tuple(kept), int(real.sum()), *size, decision.cutoff)
