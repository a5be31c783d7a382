"""``headrouter inspect``: what a profile holds, as data and on the terminal."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

import typer
from rich.console import Console, RenderableType
from rich.text import Text

from calibrate import inspection_tables as tables
from calibrate.heldout import verdicts
from calibrate.outputs import claim_plot
from headrouter_core import load_profile
from headrouter_core.profile import Profile
from headrouter_core.routing import GROUPS
from headrouter_core.writing import write


def to_json(profile: Profile) -> dict[str, Any]:
    """Everything in the profile as plain data, with the keys that scripts rely on."""
    metadata = profile.metadata()
    tensors = profile.tensors
    recorded = {
        name.removeprefix("calibration."): tensor.tolist()
        for name, tensor in tensors.items()
        if name.startswith("calibration.")
    }
    return {
        "schema": metadata["schema"],
        "version": metadata["version"],
        "digest": profile.digest,
        "model": metadata["model"],
        "recipe": metadata["recipe"],
        "weights": {name: tensors[f"weights.{name}"].tolist() for name in GROUPS},
        "centers": dict(zip(GROUPS, profile.centers.tolist(), strict=True)),
        "bandwidth": profile.bandwidth,
        "calibration": {**metadata["calibration"], **recorded},
        "versions": metadata["versions"],
        "results": metadata["results"],
        "warnings": warnings(profile),
        "verdicts": [line for _, line in verdicts(profile.results)] if profile.results else [],
    }


def warnings(profile: Profile) -> list[str]:
    """What a user of this profile should know before trusting it."""
    found = []
    if profile.recipe.weights_rule == "uniform":
        found.append(
            "The head weights are uniform: no weighting of heads was better in cross-validation, "
            "so routing between the vectors changes nothing."
        )
    if profile.recipe.prefilter_exponent == 1.0:
        found.append("The prefilter exponent is 1: the kept tokens are exactly those of Frame.")
    intervals = profile.calibration.get("intervals", {})
    low, high = intervals.get("centers.semantic"), intervals.get("centers.acoustic")
    if low and high and max(low[0], high[0]) <= min(low[1], high[1]):
        found.append(
            "The 95 % intervals of the semantic and the acoustic center overlap: spread hardly "
            "tells the groups apart on these samples."
        )
    for library in ("torch", "transformers"):
        there, here = profile.versions.get(library), importlib.metadata.version(library)
        if there and str(there).partition("+")[0] != here.partition("+")[0]:
            found.append(f"Calibrated with {library} {there}; installed is {here}.")
    return found


def show(profile: Profile, title: str, console: Console) -> None:
    """Print the whole profile."""
    parts: list[RenderableType] = [
        tables.facts_table(profile, title),
        tables.weights_table(profile),
    ]
    if len(profile.tensors["calibration.spread"]):
        parts.append(tables.spreads_table(profile))
    if profile.tensors["calibration.ablation"].numel():
        parts.append(tables.ablation_table(profile))
    if profile.results:
        parts.append(tables.results_table(profile.results))
        parts += filter(
            None, (tables.lengths_table(profile.results), tables.stability_table(profile.results))
        )
    parts.append(tables.provenance_table(profile))
    for part in parts:
        console.print(part)
        console.print()
    for line in warnings(profile):
        console.print(Text(f"! {line}", style="yellow"))


def run(name: str, *, plot: Path | None, force: bool, as_json: bool) -> None:
    """The command: load, draw, and print as text or as one JSON object."""
    claim_plot(plot, force=force, inputs=[Path(name)])
    profile = load_profile(name)
    if plot is not None:
        from calibrate.profile_plot import draw

        write(plot, draw(profile), force=force)
    if as_json:
        typer.echo(json.dumps(to_json(profile)))
        return
    show(profile, name, stdout())
    if plot is not None:
        typer.echo(f"Wrote {plot}")


def show_outcome(profile: Profile, console: Console) -> None:
    """Print what a calibration chose and what it is worth: its closing table."""
    for part in (
        tables.facts_table(profile, profile.model.id),
        tables.results_table(profile.results),
        tables.lengths_table(profile.results),
        tables.stability_table(profile.results),
    ):
        if part is not None:
            console.print(part)
            console.print()
    for line in warnings(profile):
        console.print(Text(f"! {line}", style="yellow"))


def stdout() -> Console:
    """Where results go: as wide as the terminal, or wide enough for every table in a file."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 120)
