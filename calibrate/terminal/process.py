"""The process around the commands: its standard streams, and how it ends."""

from __future__ import annotations

import io
import os
import sys
from typing import NoReturn

import typer

from calibrate.terminal import interrupts
from calibrate.terminal.console import say
from calibrate.terminal.visible import visible


def run(app: typer.Typer) -> NoReturn:
    """Run the command line and end the process with its exit code, whatever happens."""
    interrupts.install()
    closed = _settle_streams()
    if closed:
        say("standard output is closed; give it a file, a pipe or /dev/null", "error")
        sys.exit(1)
    sys.exit(_flushed(_called(app)))


def _called(app: typer.Typer) -> int:
    try:
        return app(standalone_mode=False) or 0
    except SystemExit as end:
        return int(end.code or 0)
    except KeyboardInterrupt:
        say(interrupts.MESSAGE, "error")
        return interrupts.CODE
    except BrokenPipeError:  # whoever reads has read enough
        return 1
    except OSError as error:
        say(f"cannot write to standard output: {error.strerror or error}", "error")
        return 1
    except Exception as error:
        # click's usage errors, whose class is typer's own in some versions and click's in others
        if not hasattr(error, "exit_code") or not hasattr(error, "show"):
            raise
        text = io.StringIO()
        error.show(file=text)
        sys.stderr.write(visible(text.getvalue()))
        return int(error.exit_code)


def _settle_streams() -> bool:
    """Make every stream one that can be written; return whether standard output was closed.

    A closed stream's number would be given to the next file that is opened, and messages of
    libraries would go into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    closed = sys.stdout is None
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    return closed


def _flushed(code: int) -> int:
    """Return the exit code once all is written; what cannot be is not tried again at the end."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
            if number == 1 and code == 0:
                code = 1
                if not isinstance(error, BrokenPipeError):
                    say(f"cannot write to standard output: {error.strerror or error}", "error")
    return code
