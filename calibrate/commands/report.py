"""``headrouter report``: the options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calibrate.commands.options import folder


def report(
    results: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", parser=folder, help="The folder that headrouter evaluate wrote."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE.html", help="Default: report.html in the folder."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing page.")] = False,
) -> None:
    """Make one page of an evaluation: tables, plots and examples to listen to."""
    from calibrate.evaluation.showing.report import run

    run(results, output=output, force=force)
