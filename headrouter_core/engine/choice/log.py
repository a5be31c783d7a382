"""What a context did, one entry after the other, up to a limit."""

from __future__ import annotations

import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar, overload

from headrouter_core.basics.arguments import shown, whole
from headrouter_core.engine.sessions.session import Session
from headrouter_core.errors import UsageError

Made = TypeVar("Made")
Result = TypeVar("Result")

#: Entries that a trace keeps unless told otherwise; at 7,500 audio tokens a row these are 50 MB.
TRACE_LIMIT = 1000


class Log(Sequence[Made]):
    """The last entries of a context; grows while the context is open, up to a limit.

    ``log[0]`` is the oldest entry that is still there: number ``log.dropped`` since the context was
    opened, counted from 0.
    """

    session: Session | None = None
    """Of the context; ``None`` where there is no context to run in."""

    def __init__(
        self,
        limit: int | None = None,
        on_entry: Callable[[Made], object] | None = None,
    ) -> None:
        """Start empty.

        Args:
            limit: how many entries to keep; beyond, the oldest are dropped. :data:`TRACE_LIMIT`
                unless given, and then it is said when the first one goes.
            on_entry: called with each entry, in the thread that ran its forward, kept or not.

        Raises:
            UsageError: a limit that is no number of entries, or nothing that can be called.
        """
        if on_entry is not None and not callable(on_entry):
            raise UsageError(f"on_entry is {shown(on_entry)}; it must take an entry, or be None")
        self._limit = TRACE_LIMIT if limit is None else whole("trace_limit", limit, 0)
        self._told = limit is not None
        self._on_entry = on_entry
        self._entries: deque[Made] = deque(maxlen=self._limit)
        self._total = 0
        self._lock = threading.Lock()

    @property
    def total(self) -> int:
        """How many entries there have been since the context was opened."""
        return self._total

    @property
    def dropped(self) -> int:
        """How many of them are not here any more."""
        return self._total - len(self._entries)

    @overload
    def __getitem__(self, index: int) -> Made: ...
    @overload
    def __getitem__(self, index: slice) -> list[Made]: ...
    def __getitem__(self, index: int | slice) -> Made | list[Made]:
        return self._snapshot()[index]

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Made]:
        return iter(self._snapshot())

    def __reduce__(self) -> Any:
        """Copy and pickle what was traced; a copy has no context, and tells nobody."""
        return _restored, (type(self), self._limit, self._snapshot(), self._total)

    def clear(self) -> None:
        """Drop all entries, and what they hold on the device."""
        with self._lock:
            self._entries.clear()

    def bound(self, function: Callable[..., Result]) -> Callable[..., Result]:
        """Return ``function`` as one that runs in this context, from whichever thread.

        A thread does not inherit the context that it is started in; with a streamer::

            Thread(target=trace.bound(model.generate), kwargs={**inputs, "streamer": streamer})

        The thread has to end before the context closes; afterwards its calls raise PruningError.

        Raises:
            UsageError: the trace has no context, or ``function`` is a coroutine function or a
                generator, which would run later, elsewhere.
        """
        if self.session is None:
            raise UsageError("this trace is of no context, so nothing can be bound to it")
        return self.session.bound(function)

    def _snapshot(self) -> list[Made]:
        with self._lock:
            return list(self._entries)

    def _extend(self, entries: Iterable[Made]) -> None:
        for entry in entries:
            with self._lock:
                untold = not self._told and len(self._entries) == self._limit
                self._told |= untold
                self._total += 1
                self._entries.append(entry)
            if untold:
                warnings.warn(
                    f"the trace keeps the last {self._limit} entries and drops older ones from now"
                    " on; take them by on_entry=, clear() it, or say how many with trace_limit=",
                    stacklevel=2,
                )
            if self._on_entry is not None:
                self._on_entry(entry)


def _restored(kind: Callable[[int], Log[Made]], limit: int, entries: Any, total: int) -> Log[Made]:
    log = kind(limit)
    log._entries.extend(entries)
    log._total = total
    return log
