"""All that is to be measured on a GPU, in minutes: ``make gpu``, or ``python -m benchmarks.gpu``.

Runs the tests that need a GPU, and measures prefill, selectors, calibration, decoding and whole
answers on the true shapes of Qwen2.5-Omni with random weights. Beside the output lies a journal:
what is in it for this device, these versions and this code is not measured again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.reporting.command import command_line
from benchmarks.subjects.shapes import SHAPES
from calibrate.terminal.console import say


def gpu(
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda or cuda:1.")
    ] = "auto",
    shapes: Annotated[
        str, typer.Option(metavar="NAME,NAME", help=f"Of {', '.join(SHAPES)}.")
    ] = "qwen2.5-omni-7b,qwen2.5-omni-3b",
    seconds: Annotated[
        str, typer.Option(metavar="S,S", help="Lengths of audio.")
    ] = "30,90,300,600",
    batches: Annotated[str, typer.Option(metavar="N,N", help="Rows of a prompt.")] = "1,8",
    kinds: Annotated[
        str, typer.Option(metavar="NAME,NAME", help="What is measured; all unless given.")
    ] = "",
    minutes: Annotated[
        float, typer.Option(min=0, metavar="MIN", help="No measurement is begun that ends later.")
    ] = 9,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Gets journal, gpu.json and gpu.md."),
    ] = Path(".work/gpu"),
) -> None:
    """Measure what pruning costs and saves on a GPU; run it again to go on."""
    # torch is loaded here: --help does not need it
    from benchmarks.gpu import command

    asked = command.Asked(device, shapes, seconds, batches, kinds, minutes)
    if not command.run(asked, output):
        say(f"not everything succeeded; {output / 'gpu.md'} says what", "error")
        raise typer.Exit(1)


app = command_line(gpu)

if __name__ == "__main__":
    app()
