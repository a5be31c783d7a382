"""``headrouter plan``: the options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from calibrate.commands.options import AsJson, Dtype, Model, Revision, TrustRemoteCode


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What ``headrouter plan`` is asked."""

    audio: Annotated[
        list[str] | None,
        typer.Argument(metavar="AUDIO", help="Recordings, of any length; -: a pipe."),
    ] = None
    data: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            help="Instead: a set to calibrate or evaluate on, as evaluate's --data takes it.",
        ),
    ] = None
    model: Model = "tiny-omni"
    revision: Revision = None
    ratio: Annotated[
        float | None,
        typer.Option(
            metavar="R", help="Pruning ratio; default: 0.6, and with --data those of the commands."
        ),
    ] = None
    layer: Annotated[
        int,
        typer.Option(min=1, metavar="M", help="Pruning layer: the first that sees kept tokens."),
    ] = 2
    question: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What will be asked; its tokens count.")
    ] = None
    gpu: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="h100, a100, rtx4090, …; an unknown name lists all: time, memory."
        ),
    ] = None
    tflops: Annotated[
        float | None, typer.Option(metavar="N", help="A GPU's 1e12 operations a second instead.")
    ] = None
    endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Send AUDIO to this OpenAI-compatible server, and compare the tokens it counts.",
        ),
    ] = None
    endpoint_model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The server's name of the model; default: its Hub id."),
    ] = None
    timeout: Annotated[
        float, typer.Option(metavar="S", help="Seconds that the server may take for an answer.")
    ] = 300.0
    dtype: Dtype = "auto"
    as_json: AsJson = False
    trust_remote_code: TrustRemoteCode = False
