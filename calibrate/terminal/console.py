"""The terminal: results on stdout, messages and progress on stderr.

Everything that is printed goes through here, where text from outside becomes data: it is not read
as markup, and no terminal obeys it. Colours and progress appear on terminals only; ``NO_COLOR`` is
respected.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from calibrate.terminal.visible import one_line, to_json, visible


class PlainConsole(Console):
    """A console to which every text is data: no markup, no emoji codes, controls made visible."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Make a styled text of a string, as wide as it will be shown."""
        return super().render_str(visible(text), **options)

    def render(self, renderable: Any, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Turn anything into segments: what is no control of rich's own is made visible."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


#: The one console of all messages.
STDERR = PlainConsole(stderr=True)

#: Warnings of libraries, and of recordings, that were shown since the command began.
_WARNED: list[str] = []
#: Of the 256 colours that all terminals show alike: an orange that is read on white and on black,
#: where a terminal's own yellow vanishes on the one and its blue on the other.
WARNING = "color(166)"
_STYLES = {"error": "bold red", "warning": WARNING}
#: Columns of tables that are not printed on a terminal.
_FILE_WIDTH = 120


def say(message: str, kind: str | None = None) -> None:
    """Print a message, a line long; ``kind`` is ``"error"``, ``"warning"`` or nothing."""
    text = Text(f"{kind}: ", style=_STYLES[kind]) if kind else Text()
    # a full disk behind stderr: there is nobody to tell, and the work is worth going on with
    with contextlib.suppress(OSError):
        # in a file a message is one line, to be grepped; on a terminal no word is broken
        wrap = STDERR.is_terminal
        STDERR.print(text.append(one_line(message), style="default"), soft_wrap=not wrap)


def show(*results: RenderableType) -> None:
    """Print results to stdout, tables as wide as the terminal, or as they need in a file.

    Raises:
        HeadRouterError: they cannot be written, as where the disk is full.
    """
    with delivering():
        console = PlainConsole(width=None if sys.stdout.isatty() else _FILE_WIDTH)
        for result in results:
            if isinstance(result, str):
                sys.stdout.write(visible(result) + "\n")
            else:
                console.print(result)
        sys.stdout.flush()


def show_json(value: object) -> None:
    """Print one JSON object to stdout.

    Raises:
        HeadRouterError: it cannot be written, as where the disk is full.
    """
    with delivering():
        sys.stdout.write(to_json(value, encoding=sys.stdout.encoding or "ascii", indent=2) + "\n")
        sys.stdout.flush()


@contextlib.contextmanager
def delivering() -> Iterator[None]:
    """Tell failures of standard output from faults."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        from headrouter_core.errors import HeadRouterError

        cause = error.strerror or error
        raise HeadRouterError(f"cannot write to standard output: {cause}") from error


@contextlib.contextmanager
def working(message: str) -> Iterator[None]:
    """Show a spinner beside ``message`` while the block runs, on a terminal."""
    if not STDERR.is_terminal:
        yield
        return
    with STDERR.status(Text(one_line(message))):
        yield


@contextlib.contextmanager
def plain_messages(*, models: bool = True) -> Iterator[None]:
    """Bring warnings of all libraries into one form, and their progress bars to silence.

    Args:
        models: whether models will be loaded; transformers is slow to import where none are.
    """
    # imported here: --help and --version need neither
    from huggingface_hub.utils import (  # type: ignore[attr-defined]  # public, exported lazily
        disable_progress_bars,
    )

    if models:
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
    if not STDERR.is_terminal:
        disable_progress_bars()
    with warnings.catch_warnings():
        warnings.showwarning = _show_once
        _WARNED.clear()
        yield


def warned() -> list[str]:
    """Return the warnings that were shown, for ``--json``."""
    return list(_WARNED)


def _show_once(message: Warning | str, *_: Any, **__: Any) -> None:
    """Show a warning, but none of the same wording again."""
    if str(message) not in _WARNED:
        _WARNED.append(str(message))
        say(" ".join(str(message).split()), "warning")
