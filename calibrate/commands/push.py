"""``headrouter push``: the options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from calibrate.commands.options import AsJson


@dataclass(frozen=True, kw_only=True)
class Push:
    """What ``headrouter push`` is asked."""

    profile: Annotated[
        str, typer.Argument(metavar="PROFILE", help="A profile, or the name of a shipped one.")
    ]
    repository: Annotated[
        str, typer.Argument(metavar="ORG/NAME", help="Repository on the Hugging Face Hub.")
    ]
    private: Annotated[
        bool, typer.Option("--private", help="Make a repository that only you can see.")
    ] = False
    revision: Annotated[
        str | None, typer.Option(metavar="BRANCH", help="Branch to write to; default: main.")
    ] = None
    message: Annotated[str | None, typer.Option(metavar="TEXT", help="What the commit says.")] = (
        None
    )
    create_pr: Annotated[
        bool, typer.Option("--create-pr", help="Propose it as a pull request instead.")
    ] = False
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the card, and send nothing.")
    ] = False
    force: Annotated[
        bool, typer.Option("--force", help="Replace the card of a repository without a profile.")
    ] = False
    as_json: AsJson = False
