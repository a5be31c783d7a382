"""``results.json``: written in one canonical form, read and looked up."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from calibrate.evaluation.asking.records import COLUMNS, SCHEMA
from calibrate.evaluation.comparing.parts import Record
from calibrate.evaluation.comparing.summary import Row, summarise
from calibrate.evaluation.scoring.items import Dataset, Fault
from calibrate.evaluation.scoring.systems import VANILLA, System
from headrouter_core.errors import HeadRouterError, UsageError

_KEYS = (
    "schema",
    "evaluation",
    "dataset",
    "tasks",
    "averages",
    "scores",
    "pairs",
    "columns",
    "vocabularies",
    "items",
)


@dataclass(frozen=True, eq=False)
class Results:
    """What an evaluation found out."""

    raw: dict[str, Any]
    """The file's content: ``schema``; ``evaluation``, what was run; ``dataset``, how complete it
    is; ``tasks``, ``averages``, ``scores`` and ``pairs`` as of :func:`summarise`; ``columns`` and
    ``items``, the records, whose ``labels`` number a line of ``vocabularies``."""

    @property
    def evaluation(self) -> dict[str, Any]:
        """What was run."""
        found: dict[str, Any] = self.raw["evaluation"]
        return found

    @property
    def summary(self) -> dict[str, Any]:
        """Everything but the records."""
        left_out = ("columns", "vocabularies", "items")
        return {name: value for name, value in self.raw.items() if name not in left_out}

    @property
    def items(self) -> list[Record]:
        """The records."""
        found: list[Record] = self.raw["items"]
        return found

    @property
    def methods(self) -> list[str]:
        """Their names, in order."""
        return list(self.evaluation["methods"])

    @property
    def ratios(self) -> list[float]:
        """In the order given."""
        return list(self.evaluation["ratios"])

    @cached_property
    def systems(self) -> list[System]:
        """Vanilla, then every method at every ratio: the order of replies in a record."""
        return systems_of(self.methods, self.ratios)

    @property
    def scored_tasks(self) -> list[str]:
        """Tasks with a metric, in the order of the set."""
        return [name for name, facts in self.raw["tasks"].items() if facts["metric"]]

    @cached_property
    def scores(self) -> dict[tuple[str, System], Row]:
        """Row of each task and system."""
        return {(r["task"], (r["method"], r["ratio"])): r for r in self.raw["scores"]}

    @cached_property
    def averages(self) -> dict[System, Row]:
        """Row of each system; none where nothing can be scored."""
        return {(row["method"], row["ratio"]): row for row in self.raw["averages"]}


def systems_of(methods: Iterable[str], ratios: Iterable[float]) -> list[System]:
    """Vanilla, then every method at every ratio."""
    names = list(methods)
    return [VANILLA, *((name, ratio) for ratio in ratios for name in names)]


def build(
    evaluation: dict[str, Any], dataset: Dataset, faults: list[Fault], lines: list[Record]
) -> Results:
    """Put together what was asked and what came out.

    Args:
        evaluation: the journal's header.
        dataset: what was to be asked.
        faults: items that could not be asked.
        lines: the records of all others, in the order of the set.
    """
    systems = systems_of(evaluation["methods"], evaluation["ratios"])
    vocabularies: dict[tuple[str, ...], int] = {}
    items = [
        {**line, "labels": vocabularies.setdefault(tuple(line["labels"]), len(vocabularies))}
        for line in lines
    ]
    return Results(
        {
            "schema": SCHEMA,
            "evaluation": evaluation,
            "dataset": dataset.report(faults),
            **summarise(lines, systems, evaluation["seed"]),
            "columns": {name: list(columns) for name, columns in COLUMNS.items()},
            "vocabularies": [list(vocabulary) for vocabulary in vocabularies],
            "items": items,
        }
    )


def dumps(raw: dict[str, Any]) -> str:
    """Return JSON that is small and can be compared line by line.

    One line for each key, and for each row of what is a list of rows; no spaces inside a line; no
    NaN. Equal content gives equal text.
    """
    return (
        "{\n" + ",\n".join(f"{_line(key)}:{_rows(value)}" for key, value in raw.items()) + "\n}\n"
    )


def _rows(value: Any) -> str:
    if not isinstance(value, list) or not value:
        return _line(value)
    return "[\n" + ",\n".join(map(_line, value)) + "\n]"


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def read(path: Path) -> Results:
    """Read what :func:`dumps` wrote; where there is only ``<path>.gz``, that.

    Raises:
        UsageError: no such file.
        HeadRouterError: not the results of an evaluation, or of a newer version.
    """
    packed = path.with_name(f"{path.name}.gz")
    try:
        if packed.exists() and not path.exists():
            raw = json.loads(gzip.decompress(packed.read_bytes()))
        else:
            raw = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise UsageError(
            f"{path}: no such file; give the folder that headrouter evaluate wrote"
        ) from error
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        raise HeadRouterError(f"{path} cannot be read: {error}") from error
    schema = raw.get("schema") if isinstance(raw, dict) else None
    if isinstance(schema, int) and schema != SCHEMA:
        way = "update headrouter" if schema > SCHEMA else "run headrouter evaluate again"
        raise HeadRouterError(f"{path} has schema {schema}, and this version reads {SCHEMA}; {way}")
    missing = [key for key in _KEYS if not isinstance(raw, dict) or key not in raw]
    if missing or schema != SCHEMA:
        raise HeadRouterError(f"{path} is not the results of an evaluation: it lacks {missing}")
    return Results(raw)
