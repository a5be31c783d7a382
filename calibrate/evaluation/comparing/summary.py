"""From records to numbers: every metric of every task and system, averages, and what is certain."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from calibrate.estimation.choosing.intervals import holm
from calibrate.evaluation.asking.records import COLUMNS
from calibrate.evaluation.comparing.comparison import Comparison
from calibrate.evaluation.comparing.parts import Part, Record, parts_of
from calibrate.evaluation.scoring.items import CHOICE, LABEL
from calibrate.evaluation.scoring.metrics import HEADLINES, label_counts, macro_f1, summary
from calibrate.evaluation.scoring.systems import VANILLA, System

#: The rival that needs no calibration, against which every system is held at its ratio.
FRAME = "frame"
#: Further means of a row of scores, in the order in which averages list them.
BESIDE = (
    *("parse_rate", "likeliest_macro_f1", "likeliest_per_token_macro_f1", "nll", "divergence"),
    *("heard_seconds", "heard_audio_tokens", "heard_kept"),
)

Row = dict[str, Any]


def summarise(records: Sequence[Record], systems: Sequence[System], seed: int) -> dict[str, Any]:
    """Compute everything that tables and plots show.

    Args:
        records: of all items asked, as :func:`calibrate.evaluation.asking.records.record`.
        systems: in the order of their replies.
        seed: of the bootstrap.

    Returns:
        JSON-ready: ``tasks`` (facts of each part), ``scores`` (a row a task and system),
        ``averages`` (a row a system) and ``pairs`` (two methods at one ratio: the difference of
        their averages). Without a task that can be scored the last two are empty. Every verdict has
        its ``p``, and ``p_holm`` for its family: all pairs; all averages, or all scores of tasks,
        against vanilla or against Frame.
    """
    parts = parts_of(records)
    scored = [part for part in parts if part.scored]
    compared = Comparison([part.answers(systems) for part in scored], seed=seed) if scored else None
    scores = [
        _score(part, index, system, systems, compared if part.scored else None)
        for part in parts
        for index, system in enumerate(systems)
    ]
    averages: list[Row] = []
    pairs: list[Row] = []
    if compared is not None:
        groups = _groups(scored, systems, seed)
        averages = [_average(compared, groups, scores, scored, system) for system in systems]
        pairs = _pairs(compared)
        _correct(
            [pairs]
            + [
                [row[rival] for row in rows if rival in row]
                for rows in (averages, scores)
                for rival in ("against_vanilla", "against_frame")
            ]
        )
    return {
        "tasks": {part.name: _facts(part) for part in parts},
        "averages": averages,
        "scores": scores,
        "pairs": pairs,
    }


def _facts(part: Part) -> dict[str, Any]:
    return {
        "kind": part.kind,
        "group": part.group,
        "metric": HEADLINES[part.kind].name if part.scored else None,
        "items": len(part.records),
        "clusters": len({record["cluster"] for record in part.records}),
        "seen": sum(record.get("seen", False) for record in part.records),
    }


def _score(
    part: Part, index: int, system: System, systems: Sequence[System], compared: Comparison | None
) -> Row:
    """One task, one system: the headline with its interval, all metrics, and its rivals."""
    row: Row = {"task": part.name, "method": system[0], "ratio": system[1]}
    references = [record["reference"] for record in part.records]
    if compared is not None:
        row["score"] = compared.score(part.name, system).as_dict()
        found = summary(part.kind, references, part.column("parsed", index))
        row |= {name: _round(value) for name, value in found.items()}
        row |= against(compared, system, part.name)
    if part.kind in (CHOICE, LABEL):
        for name in ("likeliest", "likeliest_per_token"):
            chosen = [
                record["labels"][choice]
                for record, choice in zip(part.records, part.column(name, index), strict=True)
            ]
            total = label_counts(references, chosen).sum(axis=0)
            row[f"{name}_macro_f1"] = _round(float(macro_f1(total)))
    if part.scored:
        row["nll"] = _round(fmean(part.column("nll", index)))
    row["divergence"] = _round(fmean(part.column("divergence", index)))
    row["complete"] = _round(fmean(part.column("complete", index)))
    for name in COLUMNS["heard"]:
        row[f"heard_{name}"] = _round(fmean(part.heard(name, index)))
    return row


def against(compared: Comparison, system: System, task: str | None) -> Row:
    """Differences from vanilla and from Frame at the same ratio, of a task or of the average."""
    rivals: Row = {}
    if system != VANILLA:
        rivals["against_vanilla"] = _verdict(compared, system, VANILLA, task)
    frame = (FRAME, system[1])
    if frame in compared.systems and system != frame:
        rivals["against_frame"] = _verdict(compared, system, frame, task)
    return rivals


def _groups(parts: Sequence[Part], systems: Sequence[System], seed: int) -> dict[str, Comparison]:
    """The comparison within each group, where there are several."""
    names = [name for name in dict.fromkeys(part.group for part in parts) if name is not None]
    if len(names) < 2:
        return {}
    return {
        name: Comparison([p.answers(systems) for p in parts if p.group == name], seed=seed)
        for name in names
    }


def _average(
    compared: Comparison,
    groups: dict[str, Comparison],
    scores: Sequence[Row],
    parts: Sequence[Part],
    system: System,
) -> Row:
    """One system over all scored tasks: percent of vanilla, and plain means over the tasks."""
    names = {part.name for part in parts}
    mine = [r for r in scores if (r["method"], r["ratio"]) == system and r["task"] in names]
    row: Row = {
        "method": system[0],
        "ratio": system[1],
        "score": _round(fmean(r["score"]["value"] for r in mine)),
        "percent_of_vanilla": compared.average(system).as_dict(),
        **against(compared, system, None),
        "groups": {name: group.average(system).as_dict() for name, group in groups.items()},
    }
    for name in BESIDE:
        values = [r[name] for r in mine if name in r]
        row[name] = _round(fmean(values)) if values else None
    return row


def _pairs(compared: Comparison) -> list[Row]:
    rows = []
    pruned = [system for system in compared.systems if system != VANILLA]
    for place, (method, ratio) in enumerate(pruned):
        for rival, other in pruned[place + 1 :]:
            if other == ratio:
                found = _verdict(compared, (method, ratio), (rival, other), None)
                rows.append({"ratio": ratio, "method": method, "rival": rival, **found})
    return rows


def _verdict(compared: Comparison, system: System, rival: System, task: str | None) -> Row:
    """A difference with its interval and verdict; none where there is too little to tell by."""
    difference = compared.difference(system, rival, task)
    known = compared.tells(task) and not np.isnan(difference.low)
    p = round(difference.p, 9) if known else None
    return {**difference.as_dict(), "verdict": difference.verdict if known else None, "p": p}


def _correct(families: Iterable[Sequence[Row]]) -> None:
    """Put beside each ``p`` the one for all verdicts of its family being looked at at once."""
    for family in families:
        corrected = holm([np.nan if row["p"] is None else row["p"] for row in family])
        for row, p in zip(family, corrected, strict=True):
            row["p_holm"] = None if np.isnan(p) else round(p, 9)


def _round(value: float) -> float:
    return round(value, 6)
