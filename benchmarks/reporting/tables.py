"""The benchmark's numbers as tables."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.reporting.figures import mebibytes, milliseconds, number, percent, share, times

#: Columns where the output is no terminal that says how wide it is.
_WIDTH = 120


def show(document: dict[str, Any]) -> None:
    """Print all tables of a run to stdout."""
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, _WIDTH)
    environment, model = document["environment"], document["model"]
    console.print(
        f"{model['shape']} ({_layers(model)}random weights, {model['dtype']},"
        f" {model['attention']}) on"
        f" {environment['device']}, torch {environment['torch']}, transformers"
        f" {environment['transformers']}; medians of {document['settings']['repeats']} rounds"
        " ± half the distance of their quartiles"
    )
    tables = {"prefill": _prefill, "selectors": _selectors, "logits": _logits, "decode": _answers}
    for key, table in tables.items():
        if key in document["lengths"][0]:
            console.print(table(document))


def _prefill(document: dict[str, Any]) -> Table:
    table = _table(
        "Prefill, pruned by headrouter",
        (
            "audio",
            "removed",
            "unpruned, ms",
            "pruned, ms",
            "speed-up",
            "over ideal, %",
            "selecting, %",
            "memory",
        ),
    )
    for length in document["lengths"]:
        part = length["prefill"]
        for ratio, entry in part["ratios"].items():
            table.add_row(
                _audio(length),
                ratio,
                milliseconds(part["full"]["seconds"]),
                milliseconds(entry["pruned"]["seconds"]),
                times(entry["speedup"]),
                percent(entry["over_ideal"], sign="+"),
                percent(_selecting(document, entry)),
                share(entry["peak_of_full"]),
            )
    table.caption = _caption(document)
    return table


def _selectors(document: dict[str, Any]) -> Table:
    table = _table(
        "Selectors",
        (
            "audio",
            "removed",
            "method",
            "prefill, ms",
            "speed-up",
            "selecting, ms",
            "selecting, %",
            "memory",
        ),
    )
    for length in document["lengths"]:
        part = length["selectors"]
        for name, entry in part["selectors"].items():
            table.add_row(
                _audio(length),
                str(part["ratio"]),
                name,
                milliseconds(entry["seconds"]),
                times(entry["speedup"]),
                milliseconds(entry["selecting"]),
                percent(_selecting(document, entry)),
                share(entry["peak_of_full"]),
            )
    table.caption = _caption(document)
    return table


def _layers(model: dict[str, Any]) -> str:
    whole = model["cut_from"]
    return f"the first {model['text']['num_hidden_layers']} of {whole} layers, " if whole else ""


def _selecting(document: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    """Of a cut model, what is pruned after its few layers is no measure of the whole one."""
    cut = document["model"]["cut_from"]
    found: dict[str, Any] = entry["selecting_of_full" if cut else "selecting_of_pruned"]
    return found


def _caption(document: dict[str, Any]) -> str:
    cut = document["model"]["cut_from"]
    base = f"the unpruned prefill of all {cut} layers" if cut else "the pruned prefill"
    return (
        f"selecting: probe, routing and selection, from the end of layer M-1, of {base};"
        " memory: peak above weights, the unpruned one's being 1"
    )


def _logits(document: dict[str, Any]) -> Table:
    table = _table(
        "Prefill with logits of all columns and of the last: ms, and MiB at the peak above weights",
        ("audio", "removed", "logits, MiB", "all", "last", "generate"),
    )
    for length in document["lengths"]:
        part = length["logits"]
        for name in ("unpruned", "pruned"):
            runs = part[name]
            table.add_row(
                _audio(length),
                "none" if name == "unpruned" else str(part["ratio"]),
                mebibytes(part["bytes"][name]),
                *(
                    f"{milliseconds(runs[way]['seconds'])}; {mebibytes(runs[way]['peak_bytes'])}"
                    for way in ("forward", "last", "generate")
                ),
            )
    told = any(length["logits"]["logits_to_keep"] for length in document["lengths"])
    table.caption = (
        "this model's forward takes logits_to_keep, so generate makes the last column's only"
        if told
        else "this model's forward takes no logits_to_keep, so generate makes all of them"
    )
    return table


def _answers(document: dict[str, Any]) -> Table:
    table = _table(
        "Answers",
        (
            "audio",
            "removed",
            "first token, ms",
            "tokens a second",
            "inputs, ms",
            "encoder, ms",
            "end to end, ms",
        ),
    )
    for length in document["lengths"]:
        whole = length["end_to_end"]
        for ratio, entry in length["decode"].items():
            cells = ["-", "-", "-"]
            if whole is not None:
                total = whole["unpruned"] if ratio == "unpruned" else whole["ratios"][ratio]
                parts = whole["inputs"], whole["encoder"], total
                cells = [milliseconds(part["seconds"]) for part in parts]
            table.add_row(
                _audio(length),
                "none" if ratio == "unpruned" else ratio,
                milliseconds(entry["first"]),
                number(entry["tokens_per_second"], "{:.1f}"),
                *cells,
            )
    table.caption = (
        "first token and tokens a second: from synthetic embeddings; end to end: from samples to"
        f" {document['settings']['new_tokens']} tokens, as long as the front end takes it (300 s)"
    )
    return table


def _table(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left")
    for column in columns:
        table.add_column(column, justify="right", overflow="fold")
    return table


def _audio(length: dict[str, Any]) -> str:
    return f"{length['seconds']:g} s"
