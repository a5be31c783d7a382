"""Open answers for an outside judge: written down with what it needs, never scored here."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from calibrate.evaluation.folder import write
from calibrate.evaluation.scoring.items import JUDGED, Item


def write_for_judge(path: Path, answered: Iterable[tuple[Item, str]]) -> int:
    """Write open items and a model's answers as JSON Lines, in one step.

    Each line has ``id``, ``task``, ``answer`` (the reference), ``model_output`` (what the model
    said: the column that MMAU-Pro's evaluator reads) and what the item carries for the judge.

    Args:
        path: file to write; an existing one is replaced.
        answered: items and raw answers; those that are scored here are passed over.

    Returns:
        How many were written.
    """
    lines = [
        json.dumps(
            {
                **item.judge,
                "id": item.id,
                "task": item.task,
                "answer": item.reference,
                "model_output": answer,
            },
            ensure_ascii=False,
        )
        for item, answer in answered
        if item.kind == JUDGED
    ]
    write(path, "".join(line + "\n" for line in lines))
    return len(lines)
