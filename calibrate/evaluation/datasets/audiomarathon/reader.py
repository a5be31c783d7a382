"""Reads AudioMarathon from its folder.

Where the public scripts go wrong, this does not follow them: missing audio is named and counted,
not skipped; nothing undecodable becomes silence; SGR's waveform is not peak-normalised (no other
task's is); SD and SGR are asked whole, not balanced by a draw that depends on the file system's
order (macro-F1 needs no balance); a transcript belongs to the whole name of its recording, not to
one that begins like it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calibrate.evaluation.datasets.audiomarathon.librispeech_long import recordings
from calibrate.evaluation.datasets.audiomarathon.records import choices_of, read_records
from calibrate.evaluation.datasets.audiomarathon.tasks import IDENTITY, TASKS, Spec
from calibrate.evaluation.datasets.reading import locate, reader, right_choice
from calibrate.evaluation.scoring.items import CHOICE, TRANSCRIPT, Dataset, Fault, Item, letters
from calibrate.evaluation.scoring.normalisers import audiomarathon as spelled
from calibrate.evaluation.scoring.normalisers import plain
from headrouter_core.errors import UsageError


def audiomarathon(
    root: Path, tasks: Sequence[str] = tuple(TASKS), identity: str | None = IDENTITY
) -> Dataset:
    """Read tasks of AudioMarathon from the folder that holds ``SLUE``, ``TAU`` and the others.

    A task that is not there is a fault; so is a record without audio, question, choices or answer.

    Args:
        root: the benchmark's folder.
        tasks: which of SER, SCR, ASR, SED, MC, ASC, ER, SD, SAR, SGR.
        identity: the system text that says who the model is; ``None`` leaves that to the chat
            template. Tasks whose script has a system text of its own keep it.

    Raises:
        UsageError: an unknown task, an annotation file that is none, or nothing that can be asked.
    """
    unknown = next((task for task in tasks if task not in TASKS), None)
    if unknown is not None:
        raise UsageError(f"AudioMarathon has no task {unknown!r}; it has {', '.join(TASKS)}")
    parts = [_Task(task, TASKS[task], root / TASKS[task].folder, identity) for task in tasks]
    for part in parts:
        part.read()
    faults = [fault for part in parts for fault in part.faults]
    if not any(part.items for part in parts):
        first = f", the first: {faults[0].reason}" if faults else ""
        raise UsageError(
            f"{root}: nothing of AudioMarathon can be asked ({len(faults)} faults{first}); give the"
            f" folder that holds {', '.join(dict.fromkeys(part.spec.folder for part in parts))}"
        )
    return Dataset(
        "AudioMarathon",
        tuple(item for part in parts for item in part.items),
        tuple(faults),
        tuple(fault for part in parts for fault in part.excluded),
        {part.task: part.spec.expected for part in parts},
    )


@dataclass
class _Task:
    """One task, and what was found of it."""

    task: str
    spec: Spec
    folder: Path
    identity: str | None
    items: list[Item] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    excluded: list[Fault] = field(default_factory=list)

    def read(self) -> None:
        """Read whatever the task's files are."""
        if self.spec.annotations:
            self._annotated()
        elif self.spec.choices:
            self._by_folder()
        else:
            self._transcripts()
        if not self.items and not self.faults:
            self._fault(self.task, f"{self.spec.folder} holds none of its recordings")

    def _annotated(self) -> None:
        names = self.spec.annotations
        path = next((path for name in names if (path := self.folder / name).is_file()), None)
        if path is None:
            self._fault(self.task, f"no {' or '.join(names)} in {self.spec.folder}")
            return
        for number, record in enumerate(read_records(path)):
            name = str(record.get("path") or record.get("audio_path") or "")
            key = f"{self.task}/{number:04d}/{name}"
            if reason := self.spec.excluded(record):
                self.excluded.append(Fault(key, self.task, reason))
            else:
                self._choice(key, name, record)

    def _by_folder(self) -> None:
        """SD: the folder of a recording is its label."""
        for label in self.spec.choices:
            for path in sorted((self.folder / label).glob("*.wav")):
                name = f"{label}/{path.name}"
                self._choice(f"{self.task}/{name}", name, {"answer_gt": label})

    def _choice(self, key: str, name: str, record: Mapping[str, Any]) -> None:
        spec = self.spec
        choices = spec.choices or choices_of(record)
        question = str(record.get("question") or "")
        answer = record.get("answer_gt", record.get("answer"))
        path = locate(self.folder, name, spec.audio)
        right = right_choice(answer, choices, by_text=spec.by_text)
        if path is None:
            self._fault(key, f"no such audio file: {spec.folder}/{name}")
        elif spec.needs_question and not question:
            self._fault(key, "no question")
        elif not 2 <= len(choices) <= 26:
            self._fault(key, f"{len(choices)} choices; there must be 2 to 26")
        elif right is None:
            self._fault(key, f"answer {answer!r} is none of its choices {list(choices)}")
        else:
            labels = tuple(map(plain, choices)) if spec.by_text else letters(choices)
            source = record.get(spec.cluster)
            self._item(
                key,
                spec.texts(question, choices, self.identity),
                path,
                kind=CHOICE,
                reference=labels[right],
                cluster=f"{spec.folder}/{name if source is None else source}",
                choices=choices,
                labels=labels,
            )

    def _transcripts(self) -> None:
        """ASR: LibriSpeech-long has no annotation file."""
        for found in recordings(self.folder):
            key = f"{self.task}/{found.name}"
            if found.path is None:
                self._fault(key, f"no such audio file: {self.spec.folder}/{found.name}.flac")
            elif not spelled(found.transcript):
                self._fault(key, "no transcript")
            else:
                self._item(
                    key,
                    self.spec.texts("", (), self.identity),
                    found.path,
                    kind=TRANSCRIPT,
                    reference=found.transcript,
                    cluster=f"{self.spec.folder}/{found.speaker}",
                )

    def _item(self, key: str, texts: tuple[str, str | None], path: Path, **scored: Any) -> None:
        self.items.append(
            Item(
                id=key,
                task=self.task,
                group=self.spec.group,
                prompt=texts[0],
                system=texts[1],
                audios=(reader(path),),
                max_new_tokens=self.spec.max_new_tokens,
                **scored,
            )
        )

    def _fault(self, key: str, reason: str) -> None:
        self.faults.append(Fault(key, self.task, reason))
