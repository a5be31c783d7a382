"""Keep evaluations with the project: ``python -m docs.make_results results``.

Takes from ``results/scenes-10s`` and ``results/scenes-30s`` what ``benchmarks/results`` holds of an
evaluation: its numbers, packed, and the plots that are shown.
"""

from __future__ import annotations

import gzip
import shutil
import sys
from pathlib import Path

from docs.results_table import FOLDERS
from headrouter_core.basics.writing import write

PLOTS = {
    "scenes-10s": (
        "score-by-ratio",
        "score-by-prefill",
        "score-by-ratio-variants",
        "routing",
        "samples",
        "selectivity",
        "kept-0",
    ),
    "scenes-30s": ("score-by-ratio", "score-by-prefill", "routing"),
}


def keep(evaluation: Path, folder: Path) -> None:
    """Put into ``folder`` what is kept of an evaluation."""
    plots = folder / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    # no date in the archive: equal results make equal files
    packed = gzip.compress((evaluation / "results.json").read_bytes(), mtime=0)
    write(folder / "results.json.gz", packed, force=True)
    shutil.copy(evaluation / "timing.json", folder)
    for name in PLOTS[folder.name]:
        shutil.copy(evaluation / "plots" / f"{name}.png", plots)


if __name__ == "__main__":
    for folder in FOLDERS.values():
        keep(Path(sys.argv[1]) / folder.name, folder)
