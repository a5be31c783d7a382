"""``headrouter evaluate``: the options."""

from __future__ import annotations

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


def evaluate(
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            parser=folder,
            help="Folder of the results; made if it is not there.",
        ),
    ],
    model: Model = "tiny-omni",
    revision: Revision = None,
    data: Annotated[
        str,
        typer.Option(
            metavar="WHAT",
            help="scenes (the shipped ones), audiomarathon:DIR, mmau-pro:DIR, a JSONL manifest,"
            " or a folder with metadata.csv or .jsonl.",
        ),
    ] = "scenes",
    seconds: Annotated[
        float | None,
        typer.Option(metavar="S", help="Length of the scenes, 4 to 30; default: 10."),
    ] = None,
    per_task: Annotated[
        int | None,
        typer.Option(min=1, max=10**5, metavar="N", help="Scenes a task; default: 20."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Clips of the scenes: test (default), calibration, …"),
    ] = None,
    methods: Annotated[
        str,
        typer.Option(metavar="M,M", help="Names, or all; an unknown name lists them."),
    ] = "all",
    ratios: Annotated[str, typer.Option(metavar="R,R", help="Pruning ratios.")] = "0.3,0.6,0.9",
    profile: ProfileName = None,
    layer: Layer = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Ask at most N items, tasks in turn.")
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="K/N",
            help="Ask every N-th item only, beside other processes; then run without it.",
        ),
    ] = None,
    timed: Annotated[
        int,
        typer.Option(
            min=0, metavar="N", help="Items on which each method is timed alone; 0: none."
        ),
    ] = 3,
    examples: Annotated[
        int, typer.Option(min=0, metavar="N", help="Items kept with their sound for the report.")
    ] = 4,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Begin anew in the folder of another evaluation; use a profile that does not fit"
            " the model.",
        ),
    ] = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    seed: Seed = 0,
    as_json: AsJson = False,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Compare methods on questions with known answers; killed, it goes on where it was."""
    from calibrate.evaluation import command
    from calibrate.evaluation.asking.request import Request
    from calibrate.terminal.ratios import parse_ratios

    command.run(
        Request(
            output=output,
            model=model,
            revision=revision,
            data=data,
            seconds=seconds,
            per_task=per_task,
            split=split,
            methods=methods,
            ratios=parse_ratios(ratios),
            profile=profile,
            layer=layer,
            limit=limit,
            shard=shard,
            timed=timed,
            examples=examples,
            force=force,
            device=device,
            dtype=dtype,
            seed=seed,
            as_json=as_json,
            trust_remote_code=trust_remote_code,
        )
    )
