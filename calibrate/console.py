"""What people read while a command runs: messages and progress, on stderr.

Results go to stdout and nowhere near here. Colours and progress appear on terminals only;
``NO_COLOR`` is respected.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.text import Text

#: The one console of all messages.
STDERR = Console(stderr=True, highlight=False)

_STYLES = {"error": "bold red", "warning": "yellow"}


def say(message: str, kind: str | None = None) -> None:
    """Print a message; ``kind`` is ``"error"``, ``"warning"`` or nothing."""
    text = Text(f"{kind}: ", style=_STYLES[kind]) if kind else Text()
    # soft_wrap: where lines end is for the terminal to decide, so that a message can be grepped
    STDERR.print(text.append(message, style="default"), soft_wrap=True)


@contextlib.contextmanager
def working(message: str) -> Iterator[None]:
    """Show a spinner beside ``message`` while the block runs, on a terminal."""
    if not STDERR.is_terminal:
        yield
        return
    with STDERR.status(Text(message)):
        yield


@contextlib.contextmanager
def plain_messages() -> Iterator[None]:
    """Bring warnings of all libraries into one form, and their progress bars to silence."""
    # imported here: --help and --version need neither
    from huggingface_hub.utils import disable_progress_bars
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if not STDERR.is_terminal:
        disable_progress_bars()
    with warnings.catch_warnings():
        warnings.showwarning = _once()
        yield


def _once() -> Callable[..., None]:
    """Return a function that shows a warning, but none of the same wording again."""
    shown: set[str] = set()

    def show(message: Warning | str, *_: Any) -> None:
        if str(message) not in shown:
            shown.add(str(message))
            say(str(message), "warning")

    return show
