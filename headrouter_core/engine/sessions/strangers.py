"""Who ran a model outside of a session while it was open: its own threads, unbound, or others."""

from __future__ import annotations

import asyncio
import sys
import threading
import weakref
from types import CodeType, FrameType


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


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _entry() -> CodeType | None:
    """Return what the current thread was started with: its first code that is not threading's."""
    entry: CodeType | None = None
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_globals.get("__name__") != threading.__name__:
            entry = frame.f_code
        frame = frame.f_back
    return entry
