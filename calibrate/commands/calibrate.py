"""``headrouter calibrate``: the options."""

from __future__ import annotations

import enum
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
    Revision,
    Seed,
    TrustRemoteCode,
)


class Recipe(enum.Enum):
    """What may be chosen; :data:`calibrate.estimation.choosing.choices.RECIPES` says what."""

    BEST = "best"
    PAPER = "paper"


@dataclass(frozen=True, kw_only=True)
class Calibrate:
    """What ``headrouter calibrate`` is asked."""

    model: Model = "tiny-omni"
    revision: Revision = None
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="JSONL manifest, folder with metadata.csv or .jsonl, audiomarathon:DIR or"
            " mmau-pro:DIR (a part of it); default: shipped scenes.",
        ),
    ] = None
    questions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Ask these of the recordings in the folder --data, one a line or JSONL; the"
            " model's own answers are the reference.",
        ),
    ] = None
    per_category: Annotated[
        int,
        typer.Option(min=1, max=10**5, metavar="N", help="Samples a category to estimate on."),
    ] = 10
    ratios: Annotated[
        str, typer.Option(metavar="R,R", help="Pruning ratios of the head ablation.")
    ] = "0.6,0.9"
    layer: Layer = None
    device: Device = "auto"
    dtype: Dtype = "auto"
    seed: Seed = 0
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Use at most N samples in all.")
    ] = None
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Default: ./<model>.safetensors."),
    ] = None
    force: Annotated[bool, typer.Option("--force", help="Replace an existing output.")] = False
    memory: Annotated[
        str,
        typer.Option(
            metavar="SIZE",
            help="Main memory for samples that wait; more is put on disk, beside the output.",
        ),
    ] = "8GiB"
    stability: Annotated[
        bool,
        typer.Option("--stability", help="Also measure how stable the result is (much slower)."),
    ] = False
    heads: Annotated[
        bool,
        typer.Option(
            "--heads",
            help="Only add scores of KV heads, for eviction (AudioKV), to the model's profile;"
            " from shipped digits, or from speech in --data.",
        ),
    ] = False
    recipe: Annotated[
        Recipe,
        typer.Option(help="best: choose how inputs are routed; paper: by spread (Eq. 12-14)."),
    ] = Recipe.BEST
    leave_one_out: Annotated[
        bool,
        typer.Option("--leave-one-out", help="Also ablate heads by leaving each out (slower)."),
    ] = False
    as_json: AsJson = False
    trust_remote_code: TrustRemoteCode = False
