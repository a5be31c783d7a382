"""Options that several commands share, and how a command takes its own."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer


def folder(name: str) -> Path:
    """Return the folder of a name; none is not the one that the command runs in."""
    if not name:
        raise typer.BadParameter("the name is empty; give a folder, . for this one")
    return Path(name)


def spread_out(command: Callable[[Any], None]) -> Callable[..., None]:
    """Return a command that takes each field of its one argument, a dataclass, for typer to see."""
    (options,) = (hint for name, hint in get_type_hints(command).items() if name != "return")
    hints = get_type_hints(options, include_extras=True)
    empty = inspect.Parameter.empty
    parameters = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=empty if field.default is dataclasses.MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(options)
    ]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        command(options(**given))

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = hints
    return run


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
