"""The results of all sittings as one JSON document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.gpu import estimate
from benchmarks.gpu.plan import Measurement
from benchmarks.gpu.session import Progress
from benchmarks.gpu.showing.goals import goals


def document(
    progress: Progress, measurements: Sequence[Measurement], command: str
) -> dict[str, Any]:
    """Return everything, JSON-ready."""
    dates = sorted(line["date"] for line in progress.lines)
    return {
        "benchmark": "gpu",
        "command": command,
        "complete": not (progress.left or progress.failed),
        "dates": dates[:1] + dates[-1:] if dates else [],
        "environment": progress.machine,
        "weights": "random",
        "goals": goals(progress.lines),
        "estimated_seconds_on_an_h100": round(estimate.total(measurements)),
        "skipped": progress.skipped,
        "failed": progress.failed,
        "left": progress.left,
        "measurements": [
            {
                "name": line["name"],
                "settings": line["key"]["settings"],
                "code": line["key"]["code"],
                "date": line["date"],
                "took": line["took"],
                "result": line["result"],
            }
            for line in progress.lines
        ],
    }
