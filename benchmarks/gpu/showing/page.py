"""The results as a page of Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks.reporting.figures import mebibytes, milliseconds, percent, share, times

Line = dict[str, Any]
Row = Sequence[str]


def page(document: dict[str, Any]) -> str:
    """Return goals, tables, and what is missing, as Markdown."""
    machine = document["environment"]
    memory = machine["memory_bytes"]
    facts = [
        machine["device"] + (f", {memory / 2**30:.0f} GiB" if memory else ""),
        f"torch {machine['torch']}",
        f"transformers {machine['transformers']}",
        " to ".join(dict.fromkeys(document["dates"])),
        "random weights",
        "medians of rounds ± half the distance of the quartiles",
    ]
    parts = ["# Measured on a GPU" if memory else "# Measured without a GPU"]
    parts.append("; ".join(filter(None, facts)) + f". `{document['command']}`")
    parts.append(_table(("goal", "at most", "worst", "where", "missed", ""), _goals(document)))
    for kind, (title, head, rows) in _TABLES.items():
        lines = [one for one in document["measurements"] if one["settings"]["kind"] == kind]
        if lines:
            cells = [row for line in lines for row in rows(line)]
            parts += [f"## {title}", _table(head, cells)]
    for title in ("failed", "skipped"):
        if document[title]:
            named = (f"- {name}: {_cell(reason)}" for name, reason in document[title].items())
            parts += [f"## {title.capitalize()}", "\n".join(named)]
    if document["left"]:
        parts += ["## Left for the next run", "\n".join(f"- {name}" for name in document["left"])]
    return "\n\n".join(parts) + "\n"


def _goals(document: dict[str, Any]) -> Iterator[Row]:
    for goal in document["goals"]:
        verdict = "met" if goal["met"] else "missed" if goal["missed"] else "not measured"
        worst = "" if goal["worst"] is None else f"{goal['worst']:.4f}"
        missed = f"{goal['missed']} of {goal['of']}"
        yield goal["goal"], f"{goal['at_most']:g}", worst, goal["where"] or "", missed, verdict


def _place(line: Line) -> tuple[str, str, str]:
    settings = line["settings"]
    return settings["shape"], f"{settings['seconds']:g} s", str(settings["batch"])


def _prefill(line: Line) -> Iterator[Row]:
    for ratio, entry in line["result"]["ratios"].items():
        yield (
            *_place(line),
            ratio,
            milliseconds(line["result"]["full"]["seconds"]),
            milliseconds(entry["pruned"]["seconds"]),
            milliseconds(entry["ideal"]["seconds"]),
            times(entry["speedup"]),
            percent(entry["over_ideal"], sign="+"),
            percent(entry["selecting_of_pruned"]),
            mebibytes(entry["pruned"]["peak_bytes"]),
            share(entry["peak_of_full"]),
        )


def _selectors(line: Line) -> Iterator[Row]:
    for name, entry in line["result"]["selectors"].items():
        yield (
            *_place(line),
            name,
            milliseconds(entry["seconds"]),
            times(entry["speedup"]),
            milliseconds(entry["selecting"]),
            percent(entry["selecting_of_pruned"]),
            mebibytes(entry["peak_bytes"]),
            share(entry["peak_of_full"]),
        )


def _calibration(line: Line) -> Iterator[Row]:
    result = line["result"]
    shared, naive = result["shared"], result["naive"]
    yield (
        *_place(line),
        str(result["kept_sets"]),
        milliseconds(shared["seconds"]),
        f"{1000 * naive['seconds']:.1f}",
        times(result["speedup"]),
        mebibytes(shared["peak_bytes"]),
        mebibytes(naive["peak_bytes"]),
        f"{result['largest_difference']:.2g}",
    )


def _decode(line: Line) -> Iterator[Row]:
    for ratio, entry in line["result"].items():
        yield (
            *_place(line),
            ratio,
            milliseconds(entry["first"]),
            milliseconds(entry["step"]),
            times(entry["of_unpruned"]),
        )


def _end_to_end(line: Line) -> Iterator[Row]:
    result = line["result"]
    unpruned, inputs, encoder = result["unpruned"], result["inputs"], result["encoder"]
    for ratio, entry in {"unpruned": unpruned, **result["ratios"]}.items():
        yield (
            *_place(line),
            ratio,
            milliseconds(inputs["seconds"]),
            milliseconds(encoder["seconds"]),
            milliseconds(entry["seconds"]),
            times(entry["speedup"]) if "speedup" in entry else "",
        )


def _tests(line: Line) -> Iterator[Row]:
    result = line["result"]
    yield "passed", str(result["passed"]), "", ""
    for outcome in ("failed", "skipped"):
        # cases of one test that end alike are one row
        alike = Counter((name.partition("[")[0], why) for name, why in result[outcome].items())
        for (test, why), count in alike.items():
            yield outcome, str(count), test, why


_AT = ("model", "audio", "rows")
#: Kind -> title, columns, and what makes rows of a measurement.
_TABLES: dict[str, tuple[str, Row, Callable[[Line], Iterator[Row]]]] = {
    "tests": ("Tests that need a GPU", ("", "cases", "test", "why"), _tests),
    "prefill": (
        "Prefill, pruned by headrouter",
        (
            *_AT,
            "removed",
            "unpruned, ms",
            "pruned, ms",
            "ideal, ms",
            "speed-up",
            "over ideal, %",
            "selecting, %",
            "peak, MiB",
            "of unpruned",
        ),
        _prefill,
    ),
    "selectors": (
        "Every selector at ratio 0.6",
        (
            *_AT,
            "method",
            "prefill, ms",
            "speed-up",
            "selecting, ms",
            "selecting, %",
            "peak, MiB",
            "of unpruned",
        ),
        _selectors,
    ),
    "calibration": (
        "Head ablation of one sample: replays from its prefix, and full forwards",
        (
            *_AT,
            "kept sets",
            "shared, ms",
            "naive, ms",
            "times faster",
            "peak, MiB",
            "naive peak, MiB",
            "loss differs by",
        ),
        _calibration,
    ),
    "decode": (
        "Decoding",
        (*_AT, "removed", "first token, ms", "a step, ms", "tokens a second of unpruned"),
        _decode,
    ),
    "end_to_end": (
        "From samples to an answer",
        (*_AT, "removed", "inputs, ms", "encoder, ms", "whole, ms", "speed-up"),
        _end_to_end,
    ),
}


def _table(head: Row, rows: Iterator[Row] | Sequence[Row]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    """Return text that stays within its cell."""
    return " ".join(text.split()).replace("|", "\\|")
