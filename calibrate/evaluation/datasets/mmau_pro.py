"""MMAU-Pro (gamma-lab-umd/MMAU-Pro): ``test.parquet`` and the audio folder unpacked beside it.

Rows of the closed categories with options are scored by the strict parser. Everything else, open
questions, instruction following (whose rules the official evaluator checks) and closed rows without
options, is asked and exported for an outside judge. The official evaluator matches closed answers
by an embedding model, which finds a choice for every answer, an empty one too; here such an answer
is unparsed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calibrate.evaluation.datasets.reading import (
    MAX_NEW_TOKENS,
    locate,
    option_lines,
    reader,
    right_choice,
)
from calibrate.evaluation.scoring.clusters import merged
from calibrate.evaluation.scoring.items import CHOICE, JUDGED, Dataset, Fault, Item, letters
from headrouter_core.errors import HeadRouterError, UsageError

#: Closed category -> (group, published number of rows). HeadRouter evaluates the five that are of
#: one group; the others mix sounds, music and speech.
CLOSED: dict[str, tuple[str | None, int]] = {
    "speech": ("semantic", 891),
    "voice_chat": ("semantic", 290),
    "sound": ("acoustic", 1048),
    "music": ("acoustic", 1418),
    "spatial_audio": ("acoustic", 325),
    "multi": (None, 430),
    "sound_music": (None, 50),
    "sound_speech": (None, 88),
    "music_speech": (None, 46),
    "sound_music_speech": (None, 7),
}
#: Category for the judge -> published number of rows.
OPEN = {"open": 625, "instruction following": 87}
_COLUMNS = ("id", "audio_path", "question", "answer", "choices", "category")
#: Columns that the official evaluator reads besides.
_JUDGED_COLUMNS = ("task_identifier", "kwargs", "transcription")


def mmau_pro(root: Path) -> Dataset:
    """Read MMAU-Pro from the folder that holds ``test.parquet`` and ``data``.

    A row without audio, question or a right answer among its options is a fault.

    Raises:
        UsageError: no ``test.parquet``, not one, or one without a needed column.
        HeadRouterError: pyarrow is not installed.
    """
    rows = _rows(root / "test.parquet")
    clusters = merged([_names(row) or [f"row {number}"] for number, row in enumerate(rows)])
    asked = [
        _read(root, number, row, cluster)
        for number, (row, cluster) in enumerate(zip(rows, clusters, strict=True))
    ]
    return Dataset(
        "MMAU-Pro",
        tuple(item for item in asked if isinstance(item, Item)),
        tuple(fault for fault in asked if isinstance(fault, Fault)),
        expected={name: count for name, (_, count) in CLOSED.items()} | OPEN,
    )


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise HeadRouterError(
            "MMAU-Pro is a parquet file, which pyarrow reads; install it with: pip install pyarrow"
            " (or headrouter[parquet])"
        ) from error
    if not path.is_file():
        raise UsageError(f"{path}: no such file; give the folder that holds test.parquet and data")
    try:
        table = parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise UsageError(f"{path} is no readable parquet file ({error})") from error
    missing = [name for name in _COLUMNS if name not in table.column_names]
    if missing:
        raise UsageError(f"{path} lacks the columns {', '.join(missing)}; is it MMAU-Pro's?")
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _read(root: Path, number: int, row: Mapping[str, Any], cluster: str) -> Item | Fault:
    category, names = str(row["category"]), _names(row)
    key = f"{number:05d}/{row['id']}"
    question = row["question"] if isinstance(row["question"], str) else ""
    choices = tuple(row["choices"] or ())
    paths = [locate(root, name, ("", "data")) for name in names]
    if not names or None in paths:
        lost = names[paths.index(None)] if names else "none is named"
        return Fault(key, category, f"no such audio file: {lost}")
    if not question.strip():
        return Fault(key, category, "no question")
    common: dict[str, Any] = {
        "id": key,
        "task": category,
        "group": CLOSED.get(category, (None, 0))[0],
        "cluster": cluster,
        "audios": tuple(reader(path) for path in paths if path is not None),
    }
    if category in OPEN or len(choices) < 2:
        return _judged(row, question, common)
    if len(choices) > 26 or not all(isinstance(text, str) and text for text in choices):
        return Fault(key, category, f"choices must be at most 26 texts, got {list(choices)}")
    right = right_choice(row["answer"], choices, by_text=True)
    if right is None:
        return Fault(key, category, f"answer {row['answer']!r} is none of its {list(choices)}")
    return Item(
        **common,
        prompt=_prompt(question, choices),
        kind=CHOICE,
        reference=letters(choices)[right],
        choices=choices,
        labels=letters(choices),
        max_new_tokens=MAX_NEW_TOKENS[CHOICE],
    )


def _prompt(question: str, choices: tuple[str, ...]) -> str:
    """The question and its options.

    There is no official prompt. Question, blank line, ``A. text`` lines are NeMo-Skills' form; the
    last line is AudioMarathon's.
    """
    *others, last = letters(choices)
    named = f"{', '.join(others)}{',' if len(others) > 1 else ''} or {last}"
    return (
        f"{question}\n\n{option_lines(choices, '.')}\n\n"
        f"Respond with only the letter of the correct option ({named})."
    )


def _judged(row: Mapping[str, Any], question: str, common: dict[str, Any]) -> Item:
    """An open question is asked as it stands."""
    needed = {name: row.get(name) for name in _JUDGED_COLUMNS}
    if isinstance(needed["kwargs"], dict):
        # parquet fills in the names of all rows' arguments
        needed["kwargs"] = {k: v for k, v in needed["kwargs"].items() if v is not None}
    return Item(
        **common,
        prompt=question,
        kind=JUDGED,
        reference=str(row["answer"] or ""),
        max_new_tokens=MAX_NEW_TOKENS[JUDGED],
        judge={
            "row": row["id"],
            "category": row["category"],
            "question": question,
            "choices": list(row["choices"] or ()),
            **needed,
        },
    )


def _names(row: Mapping[str, Any]) -> list[str]:
    """The audio files of a row: one or several."""
    value = row["audio_path"]
    names = [value] if isinstance(value, str) else list(value or ())
    return [name for name in names if isinstance(name, str) and name]
