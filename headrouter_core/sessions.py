"""Having a model for oneself while hooks are on it."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from headrouter_core.errors import UsageError

Hook = TypeVar("Hook", bound=Callable[..., object])

_lock = threading.Lock()
_busy: weakref.WeakSet[nn.Module] = weakref.WeakSet()
_graphs_seen = 0


def opaque(hook: Hook) -> Hook:
    """Return a hook that dynamo calls and does not compile."""
    return torch.compiler.disable(hook)  # type: ignore[no-untyped-call, no-any-return]


@contextmanager
def claimed(root: nn.Module) -> Iterator[None]:
    """Keep every other session, of whichever thread, off a model.

    Raises:
        UsageError: there is one already.
    """
    with _lock:
        if root in _busy:
            raise UsageError(
                f"this {type(root).__name__} is being pruned already; contexts on one model do not "
                "nest: close the other one first"
            )
        _busy.add(root)
    try:
        yield
    finally:
        with _lock:
            _busy.discard(root)


@contextmanager
def without_graphs() -> Iterator[None]:
    """Make dynamo forget graphs that were traced with other hooks: it does not guard on hooks."""
    _forget_graphs()
    try:
        yield
    finally:
        _forget_graphs()


def _forget_graphs() -> None:
    global _graphs_seen
    dynamo = sys.modules.get("torch._dynamo.utils")
    graphs = 0 if dynamo is None else dynamo.counters["frames"]["total"]
    with _lock:
        if graphs != _graphs_seen:
            torch._dynamo.reset()
            _graphs_seen = graphs
