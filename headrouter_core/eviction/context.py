"""``evict``: gives cache memory back, head by head, as long as its context is open."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn

from headrouter_core import families
from headrouter_core.basics.arguments import shown, whole
from headrouter_core.errors import EvictionError, UnsupportedModelError, UsageError
from headrouter_core.eviction.budgets import exact_budget
from headrouter_core.eviction.hooks import Engine
from headrouter_core.eviction.methods.base import Method
from headrouter_core.eviction.trace import Eviction, Evictions

__all__ = ["Eviction", "Evictions", "evict"]


@contextmanager
def evict(
    model: nn.Module,
    method: Method,
    budget: float,
    *,
    every: int | None = None,
    force: bool = False,
    trace_limit: int | None = None,
    on_entry: Callable[[Eviction], object] | None = None,
) -> Iterator[Evictions]:
    """Evict from the cache of every prompt that runs through ``model`` while the context is open.

    A prompt is seen whole. When its forward ends, each layer and KV head keeps the positions that
    ``method`` chose, and the memory of all others is given back. Later tokens are added to every
    head, and keep their positions. A prompt is what ``generate`` is given, or what a forward by
    hand brings that has more than one token or an empty cache: a second turn is evicted from as
    well, within a budget that counts the whole conversation.

    Together with ``prune``, in whichever order the two are opened, the budget counts what a layer
    holds after pruning. Like there, the context is that of the thread or task that opens it, the
    trace's ``bound`` carries it to other threads, and the model is as it was when it closes. A
    cache that was evicted from can be continued inside such a context only, on the same model.

    Args:
        model: a loaded model of a supported family, or one that wraps it.
        method: chooses what is kept.
        budget: fraction of a layer's positions to keep, in (0, 1], at its decimal value: the mean
            over KV heads, and over layers too where the method shares among them.
        every: evict again each time that an answer has grown by so many tokens, within a budget of
            all so far, by the queries since the last time; each beam by itself. ``None``: what
            comes behind a prompt stays.
        force: use a profile although its weights or probe layer are not this model's.
        trace_limit: how many entries the trace keeps; beyond, the oldest are dropped.
        on_entry: called with each entry of the trace, in the thread that ran its forward.

    Yields:
        The trace: one entry a row each time that a cache is evicted from, in order.

    Raises:
        UsageError: no method, a budget or ``every`` out of range, or this thread or task is
            evicting from the model already.
        UnsupportedModelError: the architecture cannot be evicted from exactly.
        ProfileMismatchError: the method's profile belongs to another model.
        EvictionError: a forward cannot be evicted from exactly (a static cache, one without a
            cache, a part of a prompt); or, on closing, a prompt was seen and nothing was done.
        NonFiniteError: attention is NaN.
    """
    if not isinstance(method, Method):
        raise UsageError(f"method is {shown(method)}; it must be one, say AudioKV(profile)")
    exact = exact_budget(budget)
    if every is not None:
        whole("every", every, 1)
    anatomy = families.locate(model)
    if anatomy.shares_keys:
        raise UnsupportedModelError(
            f"{anatomy.family.name} has layers that take the keys of earlier ones, so that a head's"
            " positions serve several layers, which would want different ones; use prune"
        )
    profile = getattr(method, "profile", None)
    if profile is not None:
        info = families.model_info(model, profile.recipe.layer)
        for doubt in profile.check_model(info, force=force):
            warnings.warn(doubt, stacklevel=3)
    trace = Evictions(trace_limit, on_entry)
    engine = Engine(anatomy, method, exact, every, trace)
    with engine.attached() as trace.session:
        yield trace
    if engine.seen and not engine.done:
        raise EvictionError(
            "a prompt was seen, but nothing was evicted; look for an error that was caught inside"
            " the context"
        )
    doubts = [] if engine.seen else ["no prompt was seen while the context was open"]
    if told := trace.session.strangers.told(bool(doubts), " on a whole cache"):
        doubts.append(told)
    if doubts:
        warnings.warn("; ".join(doubts), stacklevel=3)
