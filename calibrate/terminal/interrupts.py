"""Ctrl-C at any moment: one line, exit code 130, and nothing half-written.

While a command works, an interrupt is a ``KeyboardInterrupt`` and everything is put away. While a
module is imported it must not be one: torch's C++ side cannot be left in the middle of its
initialisation and crashes. Then, and where nothing is to put away, the process ends at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

MESSAGE = "interrupted; nothing half-written is left behind"
CODE = 130


class _State:
    working = False
    """Whether a command runs, which has things to put away."""


def install() -> None:
    """Take over Ctrl-C, unless whoever started the process had it ignored, as nohup does."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupted)


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """Turn an interrupt of the block into a ``KeyboardInterrupt``; a second one ends at once."""
    _State.working = True
    try:
        yield
    finally:
        _State.working = False


def _interrupted(_: int, frame: FrameType | None) -> None:
    if not _State.working or _importing(frame):
        _leave()
    _State.working = False
    raise KeyboardInterrupt


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _leave() -> None:
    # a spinner may have hidden the cursor and stand on this line
    begin = b"\r\x1b[K\x1b[?25h" if os.isatty(2) else b""
    with contextlib.suppress(OSError):  # closed or full: there is nobody to tell
        os.write(2, begin + f"error: {MESSAGE}\n".encode())
    os._exit(CODE)
