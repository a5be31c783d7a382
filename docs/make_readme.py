"""Write the measured tables into README.md and the profile's card: ``python -m docs.make_readme``.

The numbers come from ``benchmarks/results`` and from the shipped profile.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from calibrate.heldout import METHODS, verdicts
from docs.results_table import results_section
from headrouter_core.profile import Profile
from headrouter_core.writing import write
from tiny_omni.card import RESULTS, accuracy_table

ROOT = Path(__file__).parent.parent
PROFILE = ROOT / "profiles" / "tiny-omni.safetensors"


def readme(text: str) -> str:
    """README.md with its tables made anew."""
    profile = Profile.load(PROFILE)
    tables = {
        "accuracy": accuracy_table(json.loads(RESULTS.read_text("utf-8"))),
        "profile": heldout_table(profile),
        "results": results_section(),
    }
    for name, table in tables.items():
        pattern = rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end -->)"
        text, found = re.subn(
            pattern, lambda m, t=table: f"{m[1]}{t}\n{m[2]}", text, flags=re.DOTALL
        )
        if found != 1:
            raise ValueError(f"README.md has {found} places for the table {name!r}, expected 1")
    return text


def heldout_table(profile: Profile) -> str:
    """Loss and accuracy on the samples that took no part, and what follows from them."""
    results = profile.results
    lines = [
        f"| ratio removed | unpruned | {' | '.join(METHODS)} |",
        "| --- " * (2 + len(METHODS)) + "|",
    ]
    whole = _cell(results["unpruned"]["nll"], results["unpruned"]["accuracy"])
    for ratio, entry in results["ratios"].items():
        cells = [_cell(entry["nll"][name], entry["accuracy"][name]) for name in METHODS]
        lines.append(f"| {ratio} | {whole} | {' | '.join(cells)} |")
    lines += [
        "",
        f"NLL in nats per answer token, and exact answers, on {results['samples']} scenes of 10 s.",
        "",
    ]
    lines += [f"- {line}" for _, line in verdicts(results)]
    return "\n".join(lines)


def _cell(nll: float, accuracy: float) -> str:
    return f"{nll:.3f} ({accuracy:.1%})"


def card(profile: Profile) -> str:
    """The card of the shipped profile."""
    recipe, intervals = profile.recipe, profile.calibration["intervals"]
    centers = dict(zip(("semantic", "uniform", "acoustic"), profile.centers.tolist(), strict=True))
    rows = [
        f"| {name} | {center:.4f} | {_interval(intervals.get(f'centers.{name}'))} |"
        for name, center in centers.items()
    ]
    tasks = len(profile.calibration["tasks"])
    return f"""# tiny-omni.safetensors

The profile of `tiny-omni` ({profile.model.heads} heads of layer {profile.model.probe_layer}), made
by `headrouter calibrate` without further options: {len(profile.calibration["samples"])} scenes of
{tasks} tasks for the choices, {profile.results["samples"]} others for the report. It says nothing
about any other model. `headrouter inspect tiny-omni` shows all of it.

- head weights: {recipe.weights_rule}, strength {recipe.weights_strength:g} per nat
- text tokens: {recipe.text_tokens}; prefilter exponent {recipe.prefilter_exponent:g}
- bandwidth {profile.bandwidth:.4f} ({recipe.bandwidth_rule})
- fingerprint `{profile.model.fingerprint}`
- digest `{profile.digest}`

| center | spread | 95 % interval |
| --- | --- | --- |
{chr(10).join(rows)}

## On samples that took no part

{heldout_table(profile)}
"""


def _interval(interval: list[float] | None) -> str:
    return f"{interval[0]:.4f} to {interval[1]:.4f}" if interval else "midpoint of the other two"


def main() -> None:
    """Write README.md and the profile's card."""
    path = ROOT / "README.md"
    write(path, readme(path.read_text("utf-8")).encode(), force=True)
    write(PROFILE.with_suffix(".md"), card(Profile.load(PROFILE)).encode(), force=True)


if __name__ == "__main__":
    main()
