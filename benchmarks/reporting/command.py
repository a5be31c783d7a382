"""One function as a command line, as ``headrouter`` runs its commands."""

from __future__ import annotations

from collections.abc import Callable

import typer

from calibrate.terminal.exits import guarded


def command_line(command: Callable[..., None]) -> typer.Typer:
    """Return the app of a benchmark: errors become one message and an exit code."""
    app = typer.Typer(
        context_settings={"help_option_names": ["-h", "--help"]},
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.command()(guarded(command, models=True))
    return app
