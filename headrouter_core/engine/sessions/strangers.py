"""Who ran a model outside of a session while it was open: its own threads, unbound, or others."""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
import weakref
from collections.abc import Iterator
from types import CodeType, FrameType

#: Code that may be suspended, and resumed by another thread or task.
_RESUMABLE = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class Strangers:
    """What a session heard of callers that have none.

    Python does not say which thread started which. A thread counts as the session's own if it began
    after the session was opened, unless it began the way that the session's thread did, as the
    request threads of a server do. Where an event loop runs, its worker threads serve every task,
    so none counts.
    """

    def __init__(self) -> None:
        """Remember which threads there are."""
        self.seen = False
        """Whether anybody ran the model without a session."""
        self.newcomer: str | None = None
        """Name of the first thread that counts as the session's own."""
        self.strayed = False
        """Whether the session was closed where it is not in force: not where it was opened."""
        self._openers = [frame for frame in _frames() if frame.f_code.co_flags & _RESUMABLE]
        self._before = weakref.WeakSet(threading.enumerate())
        self._entry = _entry()
        self._shared = _in_event_loop()

    def note(self) -> None:
        """Take note of the calling thread."""
        self.seen = True
        if self.newcomer is not None or self._shared:
            return
        thread = threading.current_thread()
        if thread not in self._before and _entry() is not self._entry:
            self.newcomer = thread.name

    def opener(self) -> str | None:
        """Return the name of the generator that opened the session, if it is it that calls now."""
        calling = set(_frames())
        return next((f.f_code.co_qualname for f in self._openers if f in calling), None)

    def told(self, doubted: bool, how: str) -> str | None:
        """Return what to warn of on closing: who ran the model, and how, or None.

        Args:
            doubted: whether the session has done nothing, so that a stranger may be its own.
            how: what the model was then: ``", unpruned"``.
        """
        if self.newcomer is None and not (self.seen and (doubted or self.strayed)):
            return None
        name = f"thread {self.newcomer!r}" if self.newcomer else "another thread or task"
        return (
            f"{name} ran the model meanwhile{how}, as it was not bound to this context: start it as"
            " Thread(target=trace.bound(model.generate), ...)"
        )

    def end(self) -> None:
        """Let go of what keeps others' variables alive."""
        self._openers = []


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _entry() -> CodeType | None:
    """Return what the current thread was started with: its first code that is not threading's."""
    own = (f for f in _frames() if f.f_globals.get("__name__") != threading.__name__)
    return [None, *(frame.f_code for frame in own)][-1]


def _frames() -> Iterator[FrameType]:
    """Yield the frames of the current thread, innermost first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back
