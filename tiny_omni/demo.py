"""Write the demo recording: ``python -m tiny_omni.demo``.

A scene of 12 seconds composed from test clips, which training never saw, with a note that names
them and their licences.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import soundfile

from headrouter_core.basics.writing import write
from tiny_omni import AUDIO_DIR, DEMO
from tiny_omni.clips import SAMPLE_RATE, Bank
from tiny_omni.scenes import Scene, compose

SEED, SECONDS = "demo/11", 12.0


def main() -> None:
    """Compose the scene and write it beside its note."""
    scene = compose(Bank.of("test"), SEED, SECONDS, need="digits")
    soundfile.write(DEMO, scene.samples, SAMPLE_RATE, subtype="PCM_16")
    write(DEMO.with_suffix(".md"), _note(scene).encode(), force=True)


def _note(scene: Scene) -> str:
    rows: dict[str, dict[str, Any]] = {}
    for line in (AUDIO_DIR / "metadata.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        rows.setdefault(row["file"], row)
    placed = [
        (p.start / SAMPLE_RATE, p.end / SAMPLE_RATE, p.clip)
        for item in scene.items
        for p in item.clips
    ]
    if scene.bed:
        placed.append((0.0, scene.seconds, scene.bed))
    lines = [
        f"# {Path(DEMO).name}",
        "",
        f"{scene.seconds:g} seconds, composed by `python -m tiny_omni.demo` from these recordings,",
        "cut, scaled and mixed. It stays under the licences of its parts.",
        "",
        "| seconds | what | licence | attribution | source |",
        "| --- | --- | --- | --- | --- |",
    ]
    for start, end, clip in placed:
        row = rows[clip.file]
        lines.append(
            f"| {start:.2f}-{end:.2f} | {clip.kind}: {clip.label} | {row['licence']} "
            f"| {row['attribution']} | {row['source']} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
