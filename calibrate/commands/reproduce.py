"""``headrouter reproduce``: the options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from calibrate.commands.options import (
    AsJson,
    Device,
    Dtype,
    Layer,
    Model,
    ProfileName,
    Revision,
    Seed,
    TrustRemoteCode,
    folder,
)


@dataclass(frozen=True, kw_only=True)
class Reproduce:
    """What ``headrouter reproduce`` is asked."""

    output: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", parser=folder, help="Folder of the results; made or resumed."
        ),
    ]
    model: Model = "qwen2.5-omni-3b"
    revision: Revision = None
    audiomarathon: Annotated[
        Path | None,
        typer.Option(metavar="DIR", parser=folder, help="AudioMarathon, as it unpacks."),
    ] = None
    mmau_pro: Annotated[
        Path | None,
        typer.Option(
            "--mmau-pro", metavar="DIR", parser=folder, help="MMAU-Pro: test.parquet and data."
        ),
    ] = None
    profile: ProfileName = None
    layer: Layer = None
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Ask at most N items a set, tasks in turn."),
    ] = None
    timed: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Items on which each method is timed alone."),
    ] = 3
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Begin anew where the folder is of other options; replace the page."
        ),
    ] = False
    device: Device = "auto"
    dtype: Dtype = "auto"
    seed: Seed = 0
    as_json: AsJson = False
    trust_remote_code: TrustRemoteCode = False
