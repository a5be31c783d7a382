"""Exit codes, and the one place where errors become messages."""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import typer

from calibrate.terminal import interrupts
from calibrate.terminal.console import plain_messages, say

FAILED, USAGE, PROFILE, SOME_FAILED, INTERRUPTED = 1, 2, 3, 4, interrupts.CODE


@dataclass
class Settings:
    """Options that stand before the command."""

    debug: bool = False
    """Show tracebacks."""


SETTINGS = Settings()


def guarded(command: Callable[..., None], *, models: bool) -> Callable[..., None]:
    """Wrap a command: whatever it raises becomes one message on stderr and an exit code.

    Args:
        command: a function with the options as parameters.
        models: whether it loads any.
    """

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            with interrupts.raising(), plain_messages(models=models):
                command(*args, **kwargs)
        except (typer.Exit, BrokenPipeError):
            raise
        except (Exception, KeyboardInterrupt) as error:
            if SETTINGS.debug:
                traceback.print_exc()
            if message := describe(error):
                say(message, "error")
            raise typer.Exit(exit_code(error)) from error

    return run


def exit_code(error: BaseException) -> int:
    """Return what the process ends with."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED  # without importing anything, which may be what was interrupted
    from calibrate.terminal.errors import SomeFailedError
    from headrouter_core.errors import ProfileError, UsageError

    codes = {
        SomeFailedError: SOME_FAILED,
        ProfileError: PROFILE,
        UsageError: USAGE,
    }
    return next((code for kind, code in codes.items() if isinstance(error, kind)), FAILED)


def describe(error: BaseException) -> str:
    """Return what to tell the user."""
    if isinstance(error, KeyboardInterrupt):
        return interrupts.MESSAGE
    from headrouter_core.errors import HeadRouterError

    if isinstance(error, HeadRouterError):
        return str(error)
    if is_out_of_memory(error):
        return (
            "out of memory; use shorter audio, --dtype bfloat16, a smaller model, or a device with"
            " more memory (--device cpu is slow but roomy)"
        )
    if isinstance(error, OSError) and error.strerror:  # a full disk, no permission, a broken drive
        place = f"{error.filename}: " if error.filename is not None else ""
        return f"{place}the system refuses: {error.strerror}; `headrouter --debug …` shows at what"
    return (
        f"unexpected {type(error).__name__}: {error}; this is a fault in headrouter: please report"
        " it with what `headrouter --debug …` prints"
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether Python, the CPU or a GPU ran out of memory."""
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError):
        return True
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
