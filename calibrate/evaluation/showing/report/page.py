"""From results to HTML. Every text is escaped by the template engine; the page has no script."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from calibrate.evaluation.comparing.results import Results
from calibrate.evaluation.comparing.summary import FRAME
from calibrate.evaluation.folder import Folder
from calibrate.evaluation.scoring.systems import VANILLA, System
from calibrate.evaluation.showing import wording
from calibrate.evaluation.showing.plots import examples_drawn, pictures
from calibrate.evaluation.showing.report.listening import listening
from calibrate.evaluation.showing.wording import MARKS, in_families, percent
from calibrate.terminal.pages import data_uri, page

#: Name of a picture -> what is said under it.
_CAPTIONS = {
    "score-by-ratio": "Average over the tasks in percent of vanilla, with 95 % intervals from a"
    " bootstrap over source clips and speakers.",
    "score-by-ratio-variants": "The same for the variants of a method.",
    "score-by-prefill": "Further up and to the left is better. Prefill: real, unbatched runs.",
    "score-by-memory": "Further up and to the left is better.",
    "routing": "How much of the semantic, uniform and acoustic weights the inputs of a task get.",
    "selectivity": "Which heads look at few audio tokens, by task (before pruning).",
    "samples": "Each sample by its heads' selectivity: the two directions of largest variance.",
}
_SCORES = ("score-by-ratio", "score-by-ratio-variants", "score-by-prefill", "score-by-memory")

Context = dict[str, Any]


def render(
    found: Results, timing: Mapping[str, Any], examples: Mapping[str, Any], folder: Folder
) -> bytes:
    """Return the page.

    Args:
        found: the results.
        timing: what was timed; may be empty.
        examples: what can be listened to; may be empty.
        folder: where the sound of the examples is.

    Raises:
        HeadRouterError: the sound of an example is missing or damaged.
    """
    light, dark = (pictures(found, timing, theme) for theme in (False, True))
    drawn = {name: _picture(name, light[name], dark[name]) for name in light}
    both = [examples_drawn(found, examples, folder, theme) for theme in (False, True)]
    themes = [{"light": png(a), "dark": png(b)} for a, b in zip(*both, strict=True)]
    return page(
        "calibrate.evaluation.showing.report",
        title=wording.title(found),
        model=found.evaluation["model"]["id"],
        dataset=found.raw["dataset"],
        incomplete=[*wording.completeness(found.raw["dataset"]), *wording.left_out(found)],
        facts=list(_facts(found)),
        tasks=[(name, found.raw["tasks"][name]) for name in found.scored_tasks],
        frame=FRAME if FRAME in found.methods else None,
        blocks=list(_blocks(found, timing)) if found.averages else [],
        besides=[*wording.besides(found)[0], *wording.costs(found, timing)[0]],
        metrics=wording.metrics(found) if found.averages else "",
        beside=f"{wording.beside()} {wording.cost(timing)}",
        memory=timing.get("peak_bytes") if timing.get("items") else None,
        scores=[drawn[name] for name in _SCORES if name in drawn],
        heads=[picture for name, picture in drawn.items() if name not in _SCORES],
        examples=list(listening(found, examples, folder, themes)),
    )


def png(content: bytes) -> str:
    """Return a data URI."""
    return data_uri("image/png", content)


def _picture(name: str, light: bytes, dark: bytes) -> Context:
    return {"name": name, "caption": _CAPTIONS[name], "light": png(light), "dark": png(dark)}


def _facts(found: Results) -> Iterator[tuple[str, str]]:
    """What has to be known to repeat it."""
    run = found.evaluation
    model, profile = run["model"], run["profile"]
    yield "Model", model["id"] + (f" at {model['revision']}" if model["revision"] else "")
    yield "Fingerprint", str(model["fingerprint"])
    yield "Profile", "none" if profile is None else f"{profile['model']}, {profile['digest']}"
    yield "Pruning layer", f"{run['layer']} of {model['layers']}, {model['heads']} query heads"
    yield "Computed on", f"{run['device']}, {run['dtype']}, {run['attention']} attention"
    yield "Seed", str(run["seed"])
    yield "Items", f"{run['items']['number']}, digest {run['items']['digest']}"
    yield "Versions", ", ".join(f"{name} {version}" for name, version in run["versions"].items())


def _blocks(found: Results, timing: Mapping[str, Any]) -> Iterator[Context]:
    """Vanilla on top, then a block for each ratio."""
    labels = wording.labels(found.methods)
    beside, heard = wording.besides(found)[1], wording.costs(found, timing)[1]

    def cells(system: System) -> list[str]:
        return beside(system) + heard(system)

    yield {"title": None, "rows": [_row(found, VANILLA, VANILLA[0], cells(VANILLA))]}
    for ratio in found.ratios:
        systems = [(method, ratio) for method in in_families(found.methods)]
        rows = [_row(found, s, labels[s[0]].strip(), cells(s)) for s in systems]
        yield {"title": f"Ratio {ratio:g}", "rows": rows}


def _row(found: Results, system: System, label: str, besides: list[str]) -> Context:
    average = found.averages[system]
    value, interval = wording.estimate(average["percent_of_vanilla"])
    return {
        "label": label,
        "variant": label.startswith(":"),
        "name": system[0],
        "cells": [_cell(found.scores[task, system]) for task in found.scored_tasks],
        "average": value,
        "interval": "" if system == VANILLA else interval,
        "against": [_sign(average.get(f"against_{name}")) for name in ("vanilla", "frame")],
        "besides": besides,
    }


def _cell(row: Mapping[str, Any]) -> Context:
    """A score, its sign against vanilla where it differs for certain, and what is behind it."""
    score = row["score"]
    hint = ""
    if score["low"] is not None:
        hint = f"95 % interval {percent(score['low'])} to {percent(score['high'])}"
    sign = _sign(row.get("against_vanilla"))
    return {"text": percent(score["value"]), "hint": hint, "sign": sign if sign != "=" else ""}


def _sign(difference: Mapping[str, Any] | None) -> str:
    return "" if difference is None else MARKS[difference["verdict"]]
