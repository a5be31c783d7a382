"""Tables and the picture of ``docs/eviction.md``: ``python -m docs.make_eviction``.

From what is measured: ``docs/eviction.json`` (``pytest tests/headrouter_core/eviction
--record-eviction docs/eviction.json``), ``benchmarks/results/eviction_tiny-omni.json``
(``python -m benchmarks.eviction --per-task 20``) and the head scores in tiny-omni's
profile.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from headrouter_core import load_profile

DOCS = Path(__file__).parent
PAGE = DOCS / "eviction.md"
PICTURE = DOCS / "images" / "heads_tiny-omni.png"
MEASURED = DOCS.parent / "benchmarks" / "results" / "eviction_tiny-omni.json"
FEATURES = ("greedy", "padded batch", "sampling", "beams", "second turn", "with prune")
BUDGETS = ("0.6", "0.4", "0.2", "0.1")


def exactness() -> Iterator[str]:
    """Yield the lines of the table of families."""
    worst = json.loads((DOCS / "eviction.json").read_text("utf-8"))["worst"]
    yield from _head("family", *FEATURES)
    for family, found in worst.items():
        cells = (f"{found[feature]:.0e}" if feature in found else "–" for feature in FEATURES)
        yield _row(family, *cells)


def methods(of: str = "unpruned") -> Iterator[str]:
    """Yield the lines of the table of methods and budgets: NLL, and answers that stay right."""
    measured = json.loads(MEASURED.read_text("utf-8"))[of]
    whole, systems = measured["whole"], measured["systems"]
    yield from _head("method", *(f"{budget}: NLL, right, bytes" for budget in BUDGETS))
    yield _row("whole cache", *[f"{whole['nll']:.3f}, {whole['right']:.2f}, 1"] * len(BUDGETS))
    for name in dict.fromkeys(key.rpartition(" ")[0] for key in systems):
        found = [systems[f"{name} {budget}"] for budget in BUDGETS]
        yield _row(name, *(f"{f['nll']:.3f}, {f['right']:.2f}, {f['held']:.2f}" for f in found))


def claims() -> Iterator[str]:
    """Yield the lines of the table of AudioKV minus its rivals."""
    found = json.loads(MEASURED.read_text("utf-8"))["unpruned"]["audiokv minus"]
    yield from _head("AudioKV minus, nats a token", *BUDGETS)
    for rival in dict.fromkeys(key.rsplit(" ", 2)[0] for key in found):
        yield _row(rival, *(_difference(found[f"{rival} {budget} nll"]) for budget in BUDGETS))


def _difference(found: dict[str, Any]) -> str:
    low, high = found["interval"]
    told = f"{found['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"
    return f"tie {told}" if found["tie"] else f"**{told}**"


def _head(*names: str) -> Iterator[str]:
    yield _row(*names)
    yield _row(*["---"] * len(names))


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def draw() -> None:
    """Draw tiny-omni's head scores with their standard errors."""
    tensors = load_profile("tiny-omni").tensors
    scores, errors = tensors["cache.heads"], tensors["cache.heads_stderr"]
    figure = Figure(figsize=(5, 2.2), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(scores.T, vmin=0, cmap="viridis", aspect="auto")
    for layer in range(scores.shape[0]):
        for head in range(scores.shape[1]):
            value = float(scores[layer, head])
            told = f"{value:.2f}\n±{float(errors[layer, head]):.2f}"
            colour = "black" if value > float(scores.max()) / 2 else "white"
            axes.text(layer, head, told, ha="center", va="center", fontsize=8, color=colour)
    axes.set(xlabel="layer", ylabel="KV head", yticks=range(scores.shape[1]))
    figure.colorbar(image, label="top 24 in the word")
    figure.savefig(PICTURE, dpi=110, metadata={"Software": None})


def filled(page: str) -> str:
    """Return the page with its tables made anew."""
    tables = {
        "exactness": exactness(),
        "methods": methods(),
        "pruned": methods("pruned 0.6"),
        "claims": claims(),
    }
    for name, lines in tables.items():
        table = "\n".join(lines)
        marked = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        page = re.sub(marked, rf"\g<1>{table}\n\g<2>", page, flags=re.DOTALL)
    return page


if __name__ == "__main__":
    draw()
    PAGE.write_text(filled(PAGE.read_text("utf-8")), "utf-8")
