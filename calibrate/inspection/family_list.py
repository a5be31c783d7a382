"""``headrouter families``: every family, how it hears, and what is known of it."""

from __future__ import annotations

import importlib.util
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from calibrate.commands.families import Families
from calibrate.models.frontends.base import FRONT_ENDS, FrontEnd, front_end
from calibrate.terminal.console import WARNING, show, show_json
from headrouter_core.families import FAMILIES, Family

#: How a family fares in vLLM -> what stands for it.
_SERVED = {None: "no", "exact": "yes", "renumbered": "(1)"}
#: Stand for the ways in which inputs were tested.
_SIGNS = "abcdefgh"
_LEGEND = """\
Audio tokens: per second of long audio. Inputs: what makes them for calibrate and prune; a family
without can be pruned in your own code only. Lacks: install this package first. Pruning was proved
exact on tiny random models of every family, and inputs were tested on such models. vLLM: by
headrouter-vllm, (1) another function, which has to be asked for, as vLLM numbers tokens anew.
Inputs: """


def run(request: Families) -> None:
    """Print the list."""
    facts = [to_json(family) for family in FAMILIES]
    if request.as_json:
        show_json({"families": facts})
        return
    ways = list(dict.fromkeys(fact["inputs"]["tested"] for fact in facts if fact["inputs"]))
    signs = dict(zip(ways, _SIGNS, strict=False))
    legend = _LEGEND.replace("\n", " ") + ", ".join(f"({signs[way]}) {way}" for way in ways)
    show(Group(_table(facts, signs), "", Text(legend + "."), "", _notes(facts)))


def to_json(family: Family) -> dict[str, Any]:
    """Return what is known of a family."""
    kind = _front_end(family)
    return {
        "family": family.name,
        "model_types": list(family.model_types),
        "model_classes": list(family.model_classes),
        "audio_tokens_per_second": family.tokens_per_second,
        "rate_note": family.rate_note,
        "inputs": None
        if kind is None
        else {
            "made_by": kind.processor_class or "headrouter",
            "tested": kind.tested,
            "packages": list(kind.packages),
            "missing": [name for name in kind.packages if importlib.util.find_spec(name) is None],
        },
        "vllm": family.vllm or None,
        "lacking": family.lacking(),
        "notes": list(family.notes),
    }


def _front_end(family: Family) -> type[FrontEnd] | None:
    known = [name for name in family.model_types if name in FRONT_ENDS]
    return front_end({"model_type": known[0]}) if known else None


def _table(facts: list[dict[str, Any]], signs: dict[str, str]) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("family\nmodel class")
    table.add_column("audio\nper s", justify="right")
    table.add_column("inputs")
    table.add_column("vLLM")
    for fact in facts:
        name = Text(fact["family"] + "\n", style="bold")
        name.append(fact["model_classes"][-1], style="not bold dim")
        if fact["lacking"]:
            name.append("\nnot available", style=f"not bold {WARNING}")
        rate = f"{fact['audio_tokens_per_second']:.4g}"
        table.add_row(name, rate, _inputs(fact["inputs"], signs), _SERVED[fact["vllm"]])
    return table


def _inputs(inputs: dict[str, Any] | None, signs: dict[str, str]) -> Text:
    if inputs is None:
        return Text("none", style=WARNING)
    own = inputs["made_by"] == "headrouter"
    text = Text(f"{'headrouter' if own else 'processor'} ({signs[inputs['tested']]})")
    for name in inputs["packages"]:
        missing = name in inputs["missing"]
        text.append(f"\n{'lacks' if missing else 'needs'} {name}", style=WARNING * missing)
    return text


def _notes(facts: list[dict[str, Any]]) -> RenderableType:
    """Return every note once, beside all families that it is about."""
    about: dict[str, list[str]] = {}
    for fact in facts:
        rate = [f"Audio tokens: {fact['rate_note']}."] if fact["rate_note"] else []
        lacking = [f"Not available here: {fact['lacking']}."] if fact["lacking"] else []
        for note in lacking + rate + fact["notes"]:
            about.setdefault(note, []).append(fact["family"])
    shared: dict[str, list[str]] = {}
    for note, names in about.items():
        shared.setdefault("\n".join(names), []).append(note)
    table = Table(box=None, padding=(0, 2, 1, 0), pad_edge=False, header_style="bold")
    table.add_column("family")
    table.add_column("what is known")
    for families, notes in shared.items():
        table.add_row(Text(families, style="bold"), Text("\n".join(notes)))
    return table
