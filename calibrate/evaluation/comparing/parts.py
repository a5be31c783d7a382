"""Records by what is scored alike: the items of a task, whose replies become columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from calibrate.evaluation.asking.records import COLUMNS
from calibrate.evaluation.comparing.comparison import TaskAnswers
from calibrate.evaluation.scoring.metrics import HEADLINES
from calibrate.evaluation.scoring.systems import System

Record = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """The items of one task that are scored alike."""

    name: str
    """The task's; where its items are of several kinds, with the kind behind it."""
    kind: str
    group: str | None
    records: list[Record]

    @property
    def scored(self) -> bool:
        """Whether there is a metric, and no outside judge is needed."""
        return self.kind in HEADLINES

    def column(self, name: str, system: int) -> list[Any]:
        """One column of the replies, or of the table that it numbers, for one system."""
        if name in COLUMNS["said"]:
            return self._numbered("said", name, system)
        place = COLUMNS["replies"].index(name)
        return [r["replies"][system][place] for r in self.records]

    def heard(self, name: str, system: int) -> list[float]:
        """One column of what a system heard."""
        return self._numbered("heard", name, system)

    def _numbered(self, table: str, name: str, system: int) -> list[Any]:
        number, place = COLUMNS["replies"].index(table), COLUMNS[table].index(name)
        return [r[table][r["replies"][system][number]][place] for r in self.records]

    def answers(self, systems: Sequence[System]) -> TaskAnswers:
        """For the comparison: what every system answered."""
        return TaskAnswers(
            self.name,
            self.kind,
            [r["reference"] for r in self.records],
            [r["cluster"] for r in self.records],
            {system: self.column("parsed", index) for index, system in enumerate(systems)},
            [r["background"] for r in self.records],
        )


def parts_of(records: Sequence[Record]) -> list[Part]:
    """Sort records by task, and tasks with items of several kinds by kind."""
    kinds: dict[str, dict[str, list[Record]]] = {}
    for record in records:
        kinds.setdefault(record["task"], {}).setdefault(record["kind"], []).append(record)
    return [
        Part(task if len(found) == 1 else f"{task} ({kind})", kind, part[0]["group"], part)
        for task, found in kinds.items()
        for kind, part in found.items()
    ]
