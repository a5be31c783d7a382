"""``headrouter evaluate``: the options."""

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
class Evaluate:
    """What ``headrouter evaluate`` is asked."""

    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            parser=folder,
            help="Folder of the results; made if it is not there.",
        ),
    ]
    model: Model = "tiny-omni"
    revision: Revision = None
    data: Annotated[
        str,
        typer.Option(
            metavar="WHAT",
            help="scenes (the shipped ones), audiomarathon:DIR, mmau-pro:DIR, a JSONL manifest,"
            " or a folder with metadata.csv or .jsonl.",
        ),
    ] = "scenes"
    seconds: Annotated[
        float | None,
        typer.Option(metavar="S", help="Length of the scenes, 4 to 30; default: 10."),
    ] = None
    per_task: Annotated[
        int | None,
        typer.Option(min=1, max=10**5, metavar="N", help="Scenes a task; default: 20."),
    ] = None
    split: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Clips of the scenes: test (default), calibration, …"),
    ] = None
    methods: Annotated[
        str,
        typer.Option(metavar="M,M", help="Names, or all; an unknown name lists them."),
    ] = "all"
    ratios: Annotated[str, typer.Option(metavar="R,R", help="Pruning ratios.")] = "0.3,0.6,0.9"
    profile: ProfileName = None
    layer: Layer = None
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Ask at most N items, tasks in turn.")
    ] = None
    keep_calibration_items: Annotated[
        bool,
        typer.Option(
            "--keep-calibration-items",
            help="Ask, and mark, items that the profile was calibrated on; else they are left out.",
        ),
    ] = False
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="K/N",
            help="Ask every N-th item only, beside other processes; then run without it.",
        ),
    ] = None
    timed: Annotated[
        int,
        typer.Option(
            min=0, metavar="N", help="Items on which each method is timed alone; 0: none."
        ),
    ] = 3
    probes: Annotated[
        bool,
        typer.Option(
            "--probes",
            help="Train classifiers on the states that each method keeps: what is lost before any"
            " answer (needs scikit-learn).",
        ),
    ] = False
    examples: Annotated[
        int, typer.Option(min=0, metavar="N", help="Items kept with their sound for the report.")
    ] = 4
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Begin anew in the folder of another evaluation; use a profile that does not fit"
            " the model.",
        ),
    ] = False
    device: Device = "auto"
    dtype: Dtype = "auto"
    seed: Seed = 0
    as_json: AsJson = False
    trust_remote_code: TrustRemoteCode = False
