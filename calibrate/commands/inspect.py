"""``headrouter inspect``: the options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from calibrate.commands.options import AsJson


@dataclass(frozen=True, kw_only=True)
class Inspect:
    """What ``headrouter inspect`` is asked."""

    profile: Annotated[
        str, typer.Argument(metavar="FILE", help="A profile, or the name of a shipped one.")
    ]
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw selectivity by task and head, and spreads."),
    ] = None
    page: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Write one page: verdict, heads, spreads, tables."),
    ] = None
    everything: Annotated[
        bool, typer.Option("--all", help="Print all tables: more than one screen.")
    ] = False
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False
    as_json: AsJson = False
