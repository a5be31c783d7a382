"""``headrouter inspect``: the options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calibrate.commands.options import AsJson


def inspect(
    profile: Annotated[
        str, typer.Argument(metavar="FILE", help="A profile, or the name of a shipped one.")
    ],
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw selectivity by task and head, and spreads."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing plot.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a profile holds and how it came about."""
    from calibrate.inspection import contents

    contents.run(profile, plot=plot, force=force, as_json=as_json)
