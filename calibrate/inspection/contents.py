"""``headrouter inspect``: what a profile holds, as data and on the terminal."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from calibrate.commands.inspect import Inspect
from calibrate.inspection import tables
from calibrate.inspection.routing_words import routing_table
from calibrate.inspection.screen import screen
from calibrate.inspection.verdicts import verdicts
from calibrate.inspection.worth import doubts
from calibrate.terminal.console import WARNING, show, show_json
from calibrate.terminal.outputs import claim
from headrouter_core.basics.writing import write
from headrouter_core.profile.profile import Profile
from headrouter_core.profile.shipped import load_profile
from headrouter_core.routing import GROUPS, VECTORS


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
        "heads": None if profile.head_scores is None else profile.head_scores.tolist(),
        "weights": dict(zip(VECTORS, profile.vectors.tolist(), strict=False)),
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
    return doubts(profile) + _other_versions(profile)


def _other_versions(profile: Profile) -> list[str]:
    found = []
    for library in ("torch", "transformers"):
        there, here = profile.versions.get(library), importlib.metadata.version(library)
        if there and str(there).partition("+")[0] != here.partition("+")[0]:
            found.append(f"Calibrated with {library} {there}; installed is {here}.")
    return found


def run(request: Inspect) -> None:
    """The command: load, draw, and print as text or as one JSON object."""
    name, plot, page, force = request.profile, request.plot, request.page, request.force
    claim(plot=plot, page=page, force=force, inputs=[Path(name)])
    profile = load_profile(name)
    if plot is not None:
        from calibrate.inspection.plot import draw

        write(plot, draw(profile), force=force)
    if page is not None:
        from calibrate.inspection.page import render

        write(page, render(profile, name), force=force)
    if request.as_json:
        show_json(to_json(profile))
        return
    if request.everything:
        _show([*_everything(profile, name), *_warned(warnings(profile))])
    else:
        # the verdict names what else speaks against it
        _show([*screen(profile, name), *_warned(_other_versions(profile))])
        show("More: --all (every table), --page, --plot, --json")
    for path in (plot, page):
        if path is not None:
            show(f"Wrote {path}")


def _everything(profile: Profile, title: str) -> Iterator[RenderableType | None]:
    """Yield all there is to read."""
    yield tables.facts_table(profile, title)
    yield tables.weights_table(profile)
    if len(profile.tensors["calibration.spread"]):
        yield tables.spreads_table(profile)
    if profile.tensors["calibration.ablation"].numel():
        yield tables.ablation_table(profile)
    if profile.results:
        yield tables.results_table(profile.results)
        yield routing_table(profile.results)
        yield tables.lengths_table(profile.results)
        yield tables.stability_table(profile.results)
    yield tables.provenance_table(profile)


def _warned(lines: list[str]) -> Iterator[RenderableType]:
    if lines:
        yield Group(*(Text(f"! {line}", style=WARNING) for line in lines))


def _show(parts: Iterable[RenderableType | None]) -> None:
    """Print what there is, with an empty line behind each."""
    for part in parts:
        if part is not None:
            show(part, "")
