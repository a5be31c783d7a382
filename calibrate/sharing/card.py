"""The card of a profile: what it belongs to, how it came about, what it is worth, in Markdown."""

from __future__ import annotations

import shlex
from typing import Any

from calibrate.inspection.verdicts import METHODS, strength, verdicts
from calibrate.inspection.worth import doubts, sentences
from calibrate.terminal.visible import one_line
from headrouter_core.profile.profile import Profile
from headrouter_core.profile.shipped import HUB_ID
from headrouter_core.routing import GROUPS


def metadata(profile: Profile) -> dict[str, Any]:
    """Return what the Hub searches by, as the fields of its ``ModelCardData``."""
    # base models are linked by their Hub id; folders and aliases have another form
    linked = HUB_ID.fullmatch(profile.model.id)
    return {
        "library_name": "headrouter",
        "pipeline_tag": "audio-text-to-text",
        "tags": ["headrouter", "token-pruning", "audio", profile.model.family],
        "base_model": profile.model.id if linked else None,
    }


def card(profile: Profile, name: str) -> str:
    """Return the card of a profile that is loaded by ``name``: a file, a shipped one, or a Hub id.

    It starts with the heading; :func:`metadata` stands before it on the Hub.
    """
    model, recipe = profile.model, profile.recipe
    revision = f", revision {_code(model.revision)}" if model.revision else ""
    facts = [
        f"model: {_code(model.id)}{revision}",
        f"family {model.family}, {model.layers} layers; {model.heads} heads of layer"
        f" {model.probe_layer} are probed, in {model.dtype}",
        f"pruning layer M = {recipe.layer}; route {recipe.route}",
        f"head weights: {strength(recipe)}",
        f"text tokens: {recipe.text_tokens}; prefilter exponent {recipe.prefilter_exponent:g}",
        f"bandwidth {profile.bandwidth:.4f} ({recipe.bandwidth_rule})",
        f"fingerprint {_code(model.fingerprint or 'none')}",
        f"digest {_code(profile.digest)}",
    ]
    return "\n".join(
        [
            f"# {one_line(name)}",
            "",
            "Head weights with which [headrouter](https://arxiv.org/abs/2604.23717) prunes the"
            f" audio tokens of {_code(model.id)}. They say nothing about any other model:"
            " `headrouter` refuses a profile whose fingerprint is not the model's.",
            "",
            "```",
            one_line(f"headrouter inspect {shlex.quote(name)}"),
            one_line(
                f"headrouter prune AUDIO --model {shlex.quote(model.id)}"
                f" --profile {shlex.quote(name)} --ratio 0.6"
            ),
            "```",
            "",
            *(f"- {fact}" for fact in facts),
            "",
            *_centers(profile),
            "",
            "## Calibrated on",
            "",
            _data(profile),
            "",
            "## What it is worth",
            "",
            " ".join(sentences(profile)),
            "",
            *([heldout_table(profile), ""] if profile.results else []),
            "## Limits",
            "",
            *(f"- {doubt}" for doubt in doubts(profile)),
            "- Spread depends on how many audio tokens there are: recordings much longer or shorter"
            " than those above are not what this was calibrated for.",
            "",
        ]
    )


def heldout_table(profile: Profile) -> str:
    """Return loss and exact answers on samples that took no part, and what follows from them."""
    results = profile.results
    ratios = results["ratios"].items()
    named = [*METHODS, *(name for _, entry in ratios for name in entry["nll"])]
    methods = [
        name
        for name in dict.fromkeys(named)
        if all(name in entry["nll"] and name in entry["accuracy"] for _, entry in ratios)
    ]
    lines = [
        f"| ratio removed | unpruned | {' | '.join(one_line(name) for name in methods)} |",
        "| --- " * (2 + len(methods)) + "|",
    ]
    whole = _cell(results["unpruned"]["nll"], results["unpruned"]["accuracy"])
    for ratio, entry in ratios:
        cells = [_cell(entry["nll"][name], entry["accuracy"][name]) for name in methods]
        lines.append(f"| {one_line(ratio)} | {whole} | {' | '.join(cells)} |")
    lines += [
        "",
        f"NLL in nats per answer token, and exact answers, on {results['samples']} samples.",
        "",
    ]
    lines += [f"- {one_line(line)}" for _, line in verdicts(results)]
    return "\n".join(lines)


def _code(text: str) -> str:
    """Return text from outside as a code span, which no Markdown in it leaves."""
    return f"`{one_line(text).replace('`', chr(39))}`"


def _cell(nll: float, accuracy: float) -> str:
    return f"{nll:.3f} ({accuracy:.1%})"


def _centers(profile: Profile) -> list[str]:
    intervals = profile.calibration.get("intervals", {})
    centers = zip(GROUPS, profile.centers.tolist(), strict=True)
    return [
        "| center | spread | 95 % interval |",
        "| --- | --- | --- |",
        *(f"| {g} | {c:.4f} | {_interval(intervals.get(f'centers.{g}'))} |" for g, c in centers),
    ]


def _interval(interval: list[float] | None) -> str:
    return f"{interval[0]:.4f} to {interval[1]:.4f}" if interval else "none"


def _data(profile: Profile) -> str:
    calibration = profile.calibration
    if not calibration.get("samples"):
        return "The profile does not say on what it was calibrated."
    tasks = ", ".join(_code(task) for task in sorted(calibration.get("tasks", ())))
    report = f"; {profile.results['samples']} others for the report" if profile.results else ""
    return f"{len(calibration['samples'])} samples for the choices{report}. Tasks: {tasks}."
