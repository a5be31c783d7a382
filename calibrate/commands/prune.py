"""``headrouter prune``: the options."""

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
)


@dataclass(frozen=True, kw_only=True)
class Prune:
    """What ``headrouter prune`` is asked."""

    audio: Annotated[
        list[str],
        typer.Argument(metavar="AUDIO", help="Recordings: all that FFmpeg reads; -: a pipe."),
    ]
    ratio: Annotated[
        float, typer.Option(metavar="R", help="Fraction of audio tokens to remove, in [0, 1).")
    ] = 0.6
    question: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What to ask; default: a transcription.")
    ] = None
    model: Model = "tiny-omni"
    revision: Revision = None
    profile: ProfileName = None
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="headrouter, frame, random, …; an unknown name lists all."
        ),
    ] = "headrouter"
    layer: Layer = None
    max_new_tokens: Annotated[
        int, typer.Option(min=1, max=1_000_000, metavar="N", help="Longest answer, in tokens.")
    ] = 256
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw spectrogram, importance and kept tokens."),
    ] = None
    page: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html", help="Write one page: hear it, and see the kept tokens stay lit."
        ),
    ] = None
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write indices, importance and times as safetensors.",
        ),
    ] = None
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Replace existing files; use a profile that does not fit the model."
        ),
    ] = False
    device: Device = "auto"
    dtype: Dtype = "auto"
    seed: Seed = 0
    as_json: AsJson = False
    trust_remote_code: TrustRemoteCode = False
