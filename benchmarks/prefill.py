"""What pruning saves and what it costs: ``python -m benchmarks.prefill``.

Prints tables and writes one JSON file, anew after each length of audio, with every value taken.
The files in ``benchmarks/results`` come from

    python -m benchmarks.prefill --device cpu --shape stand-in --repeats 3
    python -m benchmarks.prefill --device cpu --shape qwen2.5-omni-3b-cut --seconds 300 \
        --sections selectors --repeats 1
    python -m benchmarks.prefill --device cpu --shape qwen2.5-omni-7b-cut --seconds 90 \
        --sections selectors --repeats 1

On a GPU ``make gpu`` measures this and more, and goes on where it was stopped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.reporting.command import command_line
from benchmarks.subjects.shapes import SECTIONS, SHAPES

RESULTS = Path(__file__).parent / "results"


def prefill(
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:1 or mps.")
    ] = "auto",
    shape: Annotated[
        str, typer.Option(metavar="NAME", help=f"{', '.join(SHAPES)}; weights are random.")
    ] = "stand-in",
    seconds: Annotated[
        str, typer.Option(metavar="S,S", help="Lengths of audio.")
    ] = "30,90,300,600",
    ratios: Annotated[
        str, typer.Option(metavar="R,R", help="Fractions of audio tokens removed.")
    ] = "0.3,0.6,0.9",
    sections: Annotated[
        str, typer.Option(metavar="NAME,NAME", help="What is measured.")
    ] = ",".join(SECTIONS),
    repeats: Annotated[
        int, typer.Option(min=1, metavar="N", help="Counted rounds; one more warms up.")
    ] = 5,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of all that is drawn.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="JSON; replaced if it exists. Default: benchmarks/results/prefill_SHAPE.json.",
        ),
    ] = None,
) -> None:
    """Measure prefill, memory and decoding of a Qwen2.5-Omni thinker, pruned and not."""
    # torch is loaded here: --help does not need it
    from benchmarks.reporting import report

    options = report.Options(device, shape, seconds, ratios, sections, repeats, seed)
    report.run(options, output or RESULTS / f"prefill_{shape}.json")


app = command_line(prefill)

if __name__ == "__main__":
    app()
