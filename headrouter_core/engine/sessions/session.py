"""Whose hooks run: each thread and each asyncio task that uses a model has its own, or none.

A session is one use of one model: a pruning context, or a single run that has to look inside. Its
hooks are found through a context variable, so they are in force for the thread or task that opened
it and for whatever carries that one's context: tasks made inside, ``asyncio.to_thread``, and what
:meth:`Session.bound` returns. Nobody else's forwards notice.
"""

from __future__ import annotations

import contextvars
import enum
import functools
import inspect
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import nn

from headrouter_core.engine.sessions.strangers import Strangers
from headrouter_core.errors import PruningError, UsageError

Result = TypeVar("Result")


class Use(enum.IntEnum):
    """What a session is for. One thread may use a model in several ways, in each of them once.

    Hooks of several run at one place in this order.
    """

    PRUNING = 0
    EVICTING = 1


class Moment(enum.Enum):
    """When a hook runs, and as what."""

    BEFORE = "hook(module, args, kwargs), which may return both anew"
    AFTER = "hook(module, args, output)"
    GENERATE = "hook(generate, *args, **kwargs), in place of the module's generate"


Place = tuple[nn.Module, Moment]
Hook = Callable[..., Any]
Hooks = Mapping[Place, Hook]


class Session:
    """One use of a model, from when it is opened until it is closed."""

    def __init__(self, root: nn.Module, hooks: Hooks, use: Use = Use.PRUNING) -> None:
        """Set up; nothing is in force yet.

        Args:
            root: the model.
            hooks: what runs where; a place has one hook.
            use: what for.
        """
        self.open = True
        self.use = use
        self.strangers = Strangers()
        self._root: nn.Module | None = root
        self._hooks = hooks
        self._calls = 0
        self._lock = threading.Lock()
        self._release: Callable[[], None] = lambda: None

    def __repr__(self) -> str:
        return f"Session({type(self._root).__name__}, {'open' if self.open else 'closed'})"

    @property
    def in_force(self) -> bool:
        """Whether it is open, and the caller's."""
        return self.open and self in _in_force.get()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be in force here until the block ends.

        Raises:
            UsageError: another session on this model, of the same use, is in force here.
        """
        if any(self._displaces(session) for session in _in_force.get()):
            done = "pruned" if self.use is Use.PRUNING else "evicted from"
            raise UsageError(
                f"this {type(self._root).__name__} is being {done} already by this thread or task;"
                " contexts on one model do not nest: close the other one first"
            )
        _in_force.set((self, *_in_force.get()))
        with self._listening():
            try:
                yield
            finally:
                # not reset by token: it may be closed in another context than it was opened in
                self.strangers.strayed = self not in _in_force.get()
                _in_force.set(tuple(other for other in _in_force.get() if other is not self))

    def bound(self, function: Callable[..., Result]) -> Callable[..., Result]:
        """Return ``function`` as one that runs in this session, from any thread.

        The other context variables are those of the caller of ``bound``, as with
        ``asyncio.to_thread``.

        Raises:
            UsageError: a coroutine function or a generator, which would run later, elsewhere.
        """
        if (
            inspect.iscoroutinefunction(function)
            or inspect.isgeneratorfunction(function)
            or inspect.isasyncgenfunction(function)
        ):
            raise UsageError(
                f"{function.__name__} does not run when it is called, so it cannot be bound; bind"
                " the function that calls the model, or make the task inside the context"
            )
        context = contextvars.copy_context()

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Result:
            # a context can be entered once at a time, and this may be called by several threads
            return context.copy().run(lambda: self._run(function, *args, **kwargs))

        return run

    def _run(self, function: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        with self.calling():
            others = (other for other in _in_force.get() if not self._displaces(other))
            _in_force.set((self, *others))
            return function(*args, **kwargs)

    def _displaces(self, other: Session) -> bool:
        """Whether the two cannot be in force for one caller."""
        return other._root is self._root and other.use is self.use

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Count a call that may outlast the session: closed meanwhile, it ends in an error.

        Raises:
            PruningError: the session is closed.
        """
        with self._lock:
            if not self.open:
                _refuse_closed()
            self._calls += 1
        try:
            yield
        finally:
            with self._lock:
                self._calls -= 1
                last = not self.open and not self._calls
            if last:
                self._end()

    def close(self, release: Callable[[], None]) -> None:
        """End it.

        Args:
            release: takes the gates off the model; called once the last call has ended, as one
                that found them gone would go on unpruned.
        """
        with self._lock:
            self.open, self._release = False, release
            assert self._root is not None
            refusals = {(self._root, moment): _refuse_closed for moment in Moment}
            self._hooks = refusals if self._calls else {}
            running = bool(self._calls)
        if not running:
            self._end()

    def _end(self) -> None:
        """Let go of the model: copied contexts may hold a session for long."""
        self._hooks, self._root = {}, None
        self.strangers.end()
        self._release()
        self._release = lambda: None

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Hear of callers without a session."""
        root = self._root
        assert root is not None
        with _lock:
            _listeners.setdefault(root, []).append(self)
        try:
            yield
        finally:
            with _lock:
                _listeners[root].remove(self)


_in_force: contextvars.ContextVar[tuple[Session, ...]] = contextvars.ContextVar(
    "headrouter_sessions", default=()
)
_lock = threading.Lock()
_listeners: weakref.WeakKeyDictionary[nn.Module, list[Session]] = weakref.WeakKeyDictionary()


def hooks_in_force(module: nn.Module, moment: Moment) -> list[tuple[Session, Hook]]:
    """Return the caller's hooks at a place in the order in which they run, and whose they are."""
    found = [
        (session, hook)
        for session in _in_force.get()
        if (hook := session._hooks.get((module, moment))) is not None
    ]
    return sorted(found, key=lambda pair: pair[0].use) if len(found) > 1 else found


def overheard(module: nn.Module) -> None:
    """Tell the sessions on a model that somebody runs it, if the caller has none on it.

    Raises:
        PruningError: it is the generator that opened one of them, resumed elsewhere.
    """
    listeners = tuple(_listeners.get(module, ()))
    if any(session._root is module for session in _in_force.get()):
        return
    for session in listeners:
        session.strangers.note()
        if (opener := session.strangers.opener()) is not None:
            raise PruningError(
                f"{opener} opened a context on the model and was resumed by another thread or "
                "task, where the context is not in force; resume it by the one that began it, or "
                "bind what runs the model: trace.bound(model.generate)(...)"
            )


def _refuse_closed(*args: Any, **kwargs: Any) -> None:
    raise PruningError(
        "the context of this call is closed; join the thread that it runs on before the"
        " context closes"
    )
