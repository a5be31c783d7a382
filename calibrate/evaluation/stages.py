"""The stages of an evaluation in its folder: each does what the folder does not hold yet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from calibrate.evaluation.asking import timing
from calibrate.evaluation.asking.run import Plan, evaluate, header, is_done, without_seen
from calibrate.evaluation.comparing.results import Results, build, dumps
from calibrate.evaluation.datasets.sources import in_turn
from calibrate.evaluation.folder import Folder, write
from calibrate.evaluation.probing import measuring
from calibrate.evaluation.scoring.items import JUDGED, Dataset, Fault, Item
from calibrate.evaluation.scoring.systems import VANILLA
from calibrate.evaluation.showing import examples
from calibrate.evaluation.showing.judging import write_for_judge
from calibrate.models.named import Loaded
from calibrate.running.journal import Journal, lines_of, opened
from calibrate.terminal.console import say
from calibrate.terminal.progress import Progress
from headrouter_core.errors import HeadRouterError, UsageError

Stored = dict[str, Any]


@dataclass(frozen=True)
class Stages:
    """One evaluation: a model, a set, a plan, and where the results go."""

    loaded: Loaded
    dataset: Dataset
    plan: Plan
    folder: Folder
    progress: Progress

    @cached_property
    def header(self) -> Stored:
        """What makes this evaluation this one."""
        return header(self.loaded, self.dataset, self.plan)

    def ask(self, *, anew: bool) -> Results:
        """Ask every item that was not asked before, and write ``results.json``.

        Args:
            anew: where the folder is another evaluation's, begin anew.

        Raises:
            UsageError: the folder is another evaluation's.
            HeadRouterError: no item could be asked.
        """
        with opened(self.folder.journal, self.header, anew=anew) as journal:
            self._take_in(journal, anew=anew)
            if journal.lines:
                say(f"going on with {self.folder.path}, where {len(journal.lines)} items are done")
            else:
                self.folder.results.unlink(missing_ok=True)
            faults = evaluate(self.loaded, self.dataset, self.plan, journal, self.progress)
            dataset = without_seen(self.dataset, journal)
            asked = self._asked(dataset, faults)
            if not asked:
                raise HeadRouterError(self._nothing([*dataset.faults, *faults, *dataset.excluded]))
            lines = [journal.lines[item.id] for item in asked]
            found = build(self.header, dataset, faults, lines)
            write(self.folder.results, dumps(found.raw))
            self._export(found, journal)
        return found

    def ask_shard(self, number: int, count: int, *, anew: bool) -> None:
        """Ask only every ``count``-th item, beginning with the ``number``-th, for :meth:`ask`.

        Raises:
            UsageError: the shard is of another evaluation, and is not to begin anew.
        """
        mine = replace(self.dataset, items=self.dataset.items[number - 1 :: count])
        path = self.folder.shard(number, count)
        with opened(path, self.header, anew=anew) as journal:
            evaluate(self.loaded, mine, self.plan, journal, self.progress)
        say(
            f"wrote {path}; once all are there, the same command without --shard puts them together"
        )

    def time(self, found: Results, number: int) -> Stored:
        """Measure what ``number`` items cost with every system, unless that is known."""
        chosen = self._some(found, number)
        known = self.folder.stored(self.folder.timing, self.header)
        if not chosen or _ids(chosen) == [row["id"] for row in known.get("items", [])]:
            return known
        measured = timing.measure(self.loaded, chosen, self.plan, self.progress)
        self.folder.store(self.folder.timing, self.header, measured)
        return measured

    def probe(self, found: Results) -> Stored:
        """Train classifiers on what every system keeps of all items, unless that is known."""
        known = self.folder.stored(self.folder.probes, self.header)
        if known:
            return known
        measured = measuring.measure(self.loaded, self._of(found), self.plan, self.progress)
        self.folder.store(self.folder.probes, self.header, measured)
        return measured

    def exemplify(self, found: Results, number: int) -> Stored:
        """Keep ``number`` items to be listened to, unless they are kept."""
        chosen = self._some(found, number)
        known = self.folder.stored(self.folder.examples, self.header)
        rows = known.get("items", [])
        sounds = [self.folder.sounds / audio["file"] for row in rows for audio in row["audios"]]
        whole = all(path.is_file() for path in sounds)
        if not chosen or (whole and _ids(chosen) == [row["id"] for row in rows]):
            return known
        kept = examples.collect(self.loaded, chosen, self.plan, self.folder, self.progress)
        self.folder.store(self.folder.examples, self.header, kept)
        return kept

    def _take_in(self, journal: Journal, *, anew: bool) -> None:
        """Copy what shards have asked; what they could not ask is tried again."""
        for path in self.folder.shards():
            try:
                lines = lines_of(path, self.header)
            except UsageError:
                if not anew:
                    raise
                path.unlink()
                continue
            for name, line in lines.items():
                if is_done(line) and not is_done(journal.lines.get(name, {})):
                    journal.write(line)

    def _some(self, found: Results, number: int) -> list[Item]:
        return in_turn(self._of(found), number)

    def _of(self, found: Results) -> list[Item]:
        """The items that results are of."""
        asked = {record["id"] for record in found.items}
        return [item for item in self.dataset.items if item.id in asked]

    def _asked(self, dataset: Dataset, faults: list[Fault]) -> list[Item]:
        failed = {fault.id for fault in faults}
        return [item for item in dataset.items if item.id not in failed]

    def _nothing(self, faults: list[Fault]) -> str:
        reason = f"; the first: {faults[0].id}: {faults[0].reason}" if faults else ""
        return f"nothing of {self.dataset.name} could be asked{reason}"

    def _export(self, found: Results, journal: Journal) -> None:
        """Write what an outside judge has to read, one file a system."""
        judged = [item for item in self.dataset.items if item.kind == JUDGED]
        judged = [item for item in judged if "replies" in journal.lines[item.id]]
        for place, (method, ratio) in enumerate(found.systems):
            if not judged:
                return
            name = method if (method, ratio) == VANILLA else f"{method}-{ratio:g}"
            path = self.folder.judge / f"{name.replace(':', '-')}.jsonl"
            path.parent.mkdir(exist_ok=True)
            lines = [journal.lines[item.id] for item in judged]
            answers = [line["said"][line["replies"][place][0]][0] for line in lines]
            write_for_judge(path, zip(judged, answers, strict=True))


def _ids(items: list[Item]) -> list[str]:
    return [item.id for item in items]
