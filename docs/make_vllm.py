"""Fill the tables of docs/vllm.md, and print them: ``python -m docs.make_vllm``.

``make vllm`` writes docs/vllm.json first, ``python -m benchmarks.serving`` the other.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docs.make_readme import filled
from headrouter_core.basics.writing import write

PAGE = Path(__file__).with_name("vllm.md")
EQUALITY = PAGE.with_suffix(".json")
LOAD = PAGE.parents[1] / "benchmarks" / "results" / "vllm-cpu.json"


def parts() -> dict[str, str]:
    """Return the tables by the names of their places."""
    equality, load = (json.loads(path.read_text("utf-8")) for path in (EQUALITY, LOAD))
    return {"equality": _equality(equality["rows"]), "load": _load(load["ratios"])}


def page(text: str) -> str:
    """Return docs/vllm.md with its tables made anew."""
    return filled(text, parts())


def _equality(rows: list[dict[str, Any]]) -> str:
    ratios = sorted({row["ratio"] for row in rows})
    found: dict[tuple[str, str], dict[float, str]] = {}
    for row in rows:
        line = found.setdefault((row["family"], row["method"]), {})
        line[row["ratio"]] = f"{row['worst']:.1e}"
    return _table(
        ["family", "method", *(f"{ratio:g}" for ratio in ratios)],
        [[*names, *(line.get(ratio, "–") for ratio in ratios)] for names, line in found.items()],
    )


def _load(measured: dict[str, dict[str, float]]) -> str:
    names = ("requests_per_second", "ttft_seconds", "kv_blocks", "prompt_tokens")
    whole = measured["0.0"]
    rows = [
        [
            f"{float(ratio):g}",
            *("1" if row is whole else f"x {row[name] / whole[name]:.2f}" for name in names),
            str(row["errors"]),
        ]
        for ratio, row in measured.items()
    ]
    heads = ["ratio", "requests a second", "time to first token", "KV blocks at the peak"]
    return _table([*heads, "prompt tokens", "errors"], rows)


def _table(heads: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows))


def main() -> None:
    """Write docs/vllm.md and print its tables."""
    write(PAGE, page(PAGE.read_text("utf-8")).encode(), force=True)
    print(*parts().values(), sep="\n\n")


if __name__ == "__main__":
    main()
