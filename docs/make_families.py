"""Write docs/families.md from docs/exactness.json: ``python -m docs.make_families``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrouter_core.basics.writing import write

RESULTS = Path(__file__).with_name("exactness.json")

_HEAD = """# Families and exactness

Written by `make exactness`, which measures `docs/exactness.json` first; do not edit.
`headrouter families` says what else is known of each family: audio tokens per second, how inputs
are made and how that was tested.

Numbers are the largest difference between the pruned model's logits and those of a full-length
model whose layers from M on cannot see the dropped tokens, relative to the largest logit: over all
kept tokens of the prompt and every later step. The suite fails above 1e-5. *Same bits* means no
difference at all: at ratio 0 between pruned and unpruned logits and generated ids; for order and
positions between what enters layer M and the kept columns of the unpruned run. A dash: the family
has nothing of the kind.

Measured on tiny random models in float32 on a CPU, with torch {torch} and transformers
{transformers}; each number is the worst over eager and sdpa attention. In float64, norms and
softmax included, the same comparison leaves nothing but rounding: the suite fails above 1e-12.
The float32 Gemmas have small query norms (`docs/faults.md` says why), the float64 ones do not.

Only Qwen2.5-Omni ran with an audio encoder; in the others random states stood in for its output.
Flash attention ran all of transformers' way to its kernels, with dense stand-ins for the kernels.
"""


def document(results: Mapping[str, Any]) -> str:
    """Return the text of docs/families.md."""
    outcomes = results["outcomes"]
    reasons: list[str] = []
    parts = [_HEAD.format(**results["versions"])]
    for title, features in results["tables"].items():
        rows = [
            [family, *(_cell(found[feature], reasons) for feature in features)]
            for family, found in outcomes.items()
        ]
        parts.append(_section(title, ["family", *features.values()], rows))
    worst = [
        [family, _number(max(value for value in found.values() if isinstance(value, float)))]
        for family, found in outcomes.items()
    ]
    parts.append(_section("Worst of all", ["family", "error"], worst))
    parts.append("## Refusals\n")
    parts.append("\n".join(f"{n}. {reason}" for n, reason in enumerate(reasons, 1)) + "\n")
    return "\n".join(parts)


def _section(title: str, names: list[str], rows: list[list[str]]) -> str:
    """Return a headed table."""
    lines = [f"| {' | '.join(row)} |" for row in (names, ["---"] * len(names), *rows)]
    return "\n".join([f"## {title}", "", *lines, ""])


def _cell(outcome: float | str, reasons: list[str]) -> str:
    """Return one outcome; reasons of refusals are gathered for below."""
    if isinstance(outcome, float):
        return _number(outcome)
    kind, _, reason = outcome.partition(": ")
    if kind != "refused":
        return {"none": "–"}.get(outcome, outcome)
    if reason not in reasons:
        reasons.append(reason)
    return f"refused ({reasons.index(reason) + 1})"


def _number(error: float) -> str:
    return f"{error:.1e}"


def main() -> None:
    """Write docs/families.md."""
    text = document(json.loads(RESULTS.read_text("utf-8")))
    write(RESULTS.with_name("families.md"), text.encode(), force=True)


if __name__ == "__main__":
    main()
