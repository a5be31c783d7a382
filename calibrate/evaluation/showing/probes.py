"""What probes found, as text: a table of accuracies for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from calibrate.evaluation.comparing.results import Results
from calibrate.evaluation.showing.table import NARROWEST, WIDEST, WIDTH, filled, scores

#: Name of a probe -> what it is.
_TITLES = {
    "linear": "LayerNorm and one linear layer",
    "knn": "10 nearest neighbours by cosine",
}


def describe(found: Results, probes: Mapping[str, Any], width: int = WIDTH) -> str:
    """Return a table for each probe with what has to be known to read them.

    Args:
        found: the results that the probes belong to.
        probes: as of :func:`calibrate.evaluation.probing.measuring.measure`.
        width: columns.
    """
    width = min(max(width, NARROWEST), WIDEST)
    parts = []
    for name, title in _TITLES.items():
        rows = {
            (row["task"], (row["method"], row["ratio"])): row
            for row in probes["scores"]
            if row["probe"] == name
        }
        averages = {
            (row["method"], row["ratio"]): row for row in probes["averages"] if row["probe"] == name
        }
        if rows:
            tables = list(scores(found, rows, averages, width))
            parts += [f"Probe {name}: {title}", *tables]
    if parts:
        text = (
            "Accuracy x 100 of classifiers trained on the mean of the audio states that enter layer"
            f" {probes['layer']}: vanilla's of all tokens, a method's of those that it keeps. They"
            f" see no speaker or clip that they are asked about ({probes['folds']} folds). Marks"
            " as above. What only the question can tell, such as which of several words is meant,"
            " no mean of states holds."
        )
        parts.append(filled(text, width))
    skipped = [f"{task} ({reason})" for task, reason in probes["skipped"].items()]
    if skipped:
        parts.append(filled(f"Not probed: {'; '.join(skipped)}.", width))
    return "\n\n".join(parts)
