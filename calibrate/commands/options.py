"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer


def folder(name: str) -> Path:
    """Return the folder of a name; none is not the one that the command runs in."""
    if not name:
        raise typer.BadParameter("the name is empty; give a folder, . for this one")
    return Path(name)


def recordings(names: Iterable[str]) -> tuple[Path | str, ...]:
    """Return what recordings are read from; ``./-`` is a file, which a Path does not know."""
    from calibrate.sound.files.sources import STDIN

    return tuple(name if name == STDIN else Path(name) for name in names)


Model = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="tiny-omni, qwen2.5-omni-3b, qwen2.5-omni-7b, a Hub id, or a local folder.",
    ),
]
Revision = Annotated[
    str | None,
    typer.Option(metavar="REV", help="Branch, tag or commit of a model on the Hub."),
]
ProfileName = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Profile; default: ./<model>.safetensors, else the one shipped for the model.",
    ),
]
Layer = Annotated[
    int | None,
    typer.Option(min=1, metavar="M", help="Pruning layer: the first that sees only kept tokens."),
]
Device = Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:1 or mps.")]
Dtype = Annotated[str, typer.Option(metavar="DTYPE", help="auto, float32, bfloat16 or float16.")]
#: torch's generators take no larger seeds.
Seed = Annotated[
    int, typer.Option(min=0, max=2**63 - 1, metavar="N", help="Seed of all that is drawn.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout.")]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Let code from the model's repository run.")
]
