"""``headrouter report``: the options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from calibrate.commands.options import folder


@dataclass(frozen=True, kw_only=True)
class Report:
    """What ``headrouter report`` is asked."""

    results: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", parser=folder, help="The folder that headrouter evaluate wrote."
        ),
    ]
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE.html", help="Default: report.html in the folder."
        ),
    ] = None
    force: Annotated[bool, typer.Option("--force", help="Replace an existing page.")] = False
