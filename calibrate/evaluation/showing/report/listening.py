"""The examples of a page: sound, question, who kept what, and who answered what."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from calibrate.evaluation.comparing.parts import Record
from calibrate.evaluation.comparing.results import Results
from calibrate.evaluation.folder import Folder
from calibrate.evaluation.scoring.items import JUDGED
from calibrate.evaluation.scoring.systems import VANILLA, System
from calibrate.evaluation.showing.wording import in_families

Context = dict[str, Any]


def listening(
    found: Results,
    examples: Mapping[str, Any],
    folder: Folder,
    pictures: Sequence[Mapping[str, str]],
) -> Iterator[Context]:
    """Yield what the template shows of each example.

    Args:
        found: the results.
        examples: as :func:`calibrate.evaluation.showing.examples.collect` wrote them.
        folder: where their sound is.
        pictures: data URIs of each example's picture, ``light`` and ``dark``.
    """
    records = {record["id"]: record for record in found.items}
    for example, picture in zip(examples.get("items", []), pictures, strict=True):
        record = records[example["id"]]
        yield {
            **{name: example[name] for name in ("id", "prompt", "system")},
            **{name: record[name] for name in ("task", "reference")},
            "sounds": [_sound(folder, audio["file"]) for audio in example["audios"]],
            "picture": picture,
            "ratios": [f"{ratio:g}" for ratio in found.ratios],
            "vanilla": _said(found, record, VANILLA),
            "rows": [
                (method, [_said(found, record, (method, ratio)) for ratio in found.ratios])
                for method in in_families(found.methods)
            ],
        }


def _sound(folder: Folder, name: str) -> str:
    content = folder.sound(name).read_bytes()
    return f"data:audio/flac;base64,{base64.b64encode(content).decode()}"


def _said(found: Results, record: Record, system: System) -> Context:
    """An answer, and whether it is right; ``None`` where that is for a judge to say."""
    line = record["said"][record["replies"][found.systems.index(system)][0]]
    answer, complete, _, score = line
    right = None if record["kind"] == JUDGED else score == 1
    return {"text": answer if complete else f"{answer} …", "right": right}
