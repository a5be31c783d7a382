"""``headrouter inspect``: what a profile holds, as data and on the terminal."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from calibrate.inspection import tables
from calibrate.inspection.verdicts import verdicts
from calibrate.terminal.console import show, show_json
from calibrate.terminal.outputs import claim_plot
from headrouter_core import load_profile
from headrouter_core.basics.writing import write
from headrouter_core.profile.profile import Profile
from headrouter_core.routing import GROUPS


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


def run(name: str, *, plot: Path | None, force: bool, as_json: bool) -> None:
    """The command: load, draw, and print as text or as one JSON object."""
    claim_plot(plot, force=force, inputs=[Path(name)])
    profile = load_profile(name)
    if plot is not None:
        from calibrate.inspection.plot import draw

        write(plot, draw(profile), force=force)
    if as_json:
        show_json(to_json(profile))
        return
    _show([*_everything(profile, name), *_warned(profile)])
    if plot is not None:
        show(f"Wrote {plot}")


def show_outcome(profile: Profile) -> None:
    """Print what a calibration chose and what it is worth: its closing table."""
    _show(
        [
            tables.facts_table(profile, profile.model.id),
            tables.results_table(profile.results),
            tables.lengths_table(profile.results),
            tables.stability_table(profile.results),
            *_warned(profile),
        ]
    )


def _everything(profile: Profile, title: str) -> Iterator[RenderableType | None]:
    yield tables.facts_table(profile, title)
    yield tables.weights_table(profile)
    if len(profile.tensors["calibration.spread"]):
        yield tables.spreads_table(profile)
    if profile.tensors["calibration.ablation"].numel():
        yield tables.ablation_table(profile)
    if profile.results:
        yield tables.results_table(profile.results)
        yield tables.lengths_table(profile.results)
        yield tables.stability_table(profile.results)
    yield tables.provenance_table(profile)


def _warned(profile: Profile) -> Iterator[RenderableType]:
    lines = warnings(profile)
    if lines:
        yield Group(*(Text(f"! {line}", style="yellow") for line in lines))


def _show(parts: Iterable[RenderableType | None]) -> None:
    """Print what there is, with an empty line behind each."""
    for part in parts:
        if part is not None:
            show(part, "")
