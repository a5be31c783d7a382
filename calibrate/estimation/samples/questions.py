"""Recordings without reference answers: a folder, and a file of questions about each of them.

The model's own answer, unpruned, is the reference: what pruning has to keep is what the model would
have said. Where questions name no group, whether to route by group cannot be tested.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from calibrate.estimation.samples.manifests import GROUPS
from calibrate.estimation.samples.sample import UNGROUPED, Sample, drawn, refuse_one_group
from calibrate.models.asking import answer
from calibrate.models.named import Loaded
from calibrate.running.work import Work
from calibrate.sound.reading import SAMPLE_RATE, load_audio, resample
from calibrate.terminal.console import say
from headrouter_core.errors import UsageError
from headrouter_core.profile.bundle import unique_keys
from headrouter_core.profile.checks import LONGEST_NAME

#: Tokens of the longest answer that is taken for a reference.
LONGEST_ANSWER = 256
#: Keys of a line of JSON; the first two mean the same.
_KEYS = ("prompt", "question", "task", "group")


@dataclass(frozen=True)
class Question:
    """What every recording is asked."""

    prompt: str
    task: str
    group: str
    """``semantic``, ``acoustic``, or :data:`.sample.UNGROUPED`."""


def question_samples(
    folder: Path,
    file: Path,
    per_category: int,
    *,
    seed: int = 0,
    report: int | None = None,
    besides: Sequence[Path] = (),
) -> list[Sample]:
    """Samples that ask each question of recordings in a folder; their answers are still empty.

    Every file of the folder that is not hidden is taken for a recording, and for a speaker of its
    own, but for ``besides``. See :func:`.sample.manifest_samples` for how many are drawn.

    Raises:
        UsageError: no such folder or file, nothing in it, or a question that cannot be read.
    """
    samples = listed(folder, file, besides)
    return drawn(samples, per_category, per_category if report is None else report, seed, folder)


def listed(folder: Path, file: Path, besides: Sequence[Path] = ()) -> list[Sample]:
    """Return a sample for each question and recording, before any is drawn.

    Raises:
        UsageError: see :func:`question_samples`.
    """
    questions = read_questions(file)
    others = [path.name for path in (file, *besides) if path.resolve().parent == folder.resolve()]
    names = _recordings(folder, others)
    return [
        Sample(
            id=f"{name}#{hashlib.sha256(question.prompt.encode()).hexdigest()[:8]}",
            task=question.task,
            group=question.group,
            prompt=question.prompt,
            answer="",
            cluster=name,
            fold=0,
            where=str(folder / name),
            read=functools.partial(load_audio, folder / name),
        )
        for question in questions
        for name in names
    ]


def read_questions(file: Path) -> list[Question]:
    """Read one question a line, or JSONL: ``prompt`` and, where known, ``task`` and ``group``.

    A question that names no task is one of its own. Groups stand in all lines or in none.

    Raises:
        UsageError: naming file and line.
    """
    try:
        lines = file.read_text("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not UTF-8 text; save it as that") from error
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}") from error
    found = [
        _question(line.strip(), file, number)
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not found:
        raise UsageError(f"{file} holds no question; write one a line")
    prompts = [question.prompt for question in found]
    twice = next((text for text in prompts if prompts.count(text) > 1), None)
    if twice is not None:
        raise UsageError(f"{file}: the question {twice[:60]!r} stands twice")
    groups: dict[str, str] = {}
    for question in found:
        if groups.setdefault(question.task, question.group) != question.group:
            raise UsageError(f"{file}: task {question.task!r} is in two groups; name two tasks")
    if UNGROUPED in groups.values() and len(set(groups.values())) > 1:
        task = next(task for task, group in groups.items() if group == UNGROUPED)
        raise UsageError(
            f"{file}: task {task!r} names no group and others do; name the group of each, or none"
        )
    if UNGROUPED not in groups.values():
        refuse_one_group(set(groups.values()), file)
    return found


def _question(line: str, file: Path, number: int) -> Question:
    if not line.startswith("{"):
        return Question(line, line[:LONGEST_NAME], UNGROUPED)
    try:
        fields = json.loads(line, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        _refuse(file, number, f"not JSON: {error}", error)
    if foreign := sorted(set(fields) - set(_KEYS)):
        _refuse(file, number, f"{foreign[0]!r} is no key of a question; known: {', '.join(_KEYS)}")
    for key in fields:
        if not isinstance(fields[key], str) or not fields[key].strip():
            _refuse(file, number, f"needs a text in {key!r}, got {fields[key]!r}")
    if ("prompt" in fields) == ("question" in fields):
        _refuse(file, number, "needs a text in 'prompt' or in 'question'")
    group = fields.get("group", UNGROUPED)
    if "group" in fields and group not in GROUPS:
        _refuse(file, number, f"group is {group!r}; expected {' or '.join(GROUPS)}")
    prompt = fields.get("prompt") or fields["question"]
    return Question(prompt, fields.get("task", prompt[:LONGEST_NAME]), group)


def _refuse(file: Path, number: int, what: str, cause: Exception | None = None) -> NoReturn:
    raise UsageError(f"{file}:{number}: {what}") from cause


def _recordings(folder: Path, others: Sequence[str]) -> list[str]:
    if not os.path.isdir(folder):
        raise UsageError(f"{folder} is no folder; --questions asks about the recordings of one")
    names = sorted(
        entry.name
        for entry in os.scandir(folder)
        if entry.is_file() and not entry.name.startswith(".") and entry.name not in others
    )
    if not names:
        raise UsageError(f"{folder} holds no file; put recordings into it")
    return names


def answered(
    loaded: Loaded, samples: Sequence[Sample], work: Work, tick: Callable[[], None]
) -> list[Sample]:
    """Return the samples with the model's own greedy answers, unpruned, as references.

    What the journal of ``work`` holds is not asked again.
    """

    def said(sample: Sample) -> dict[str, Any]:
        audio = sample.read(max_seconds=loaded.frontend.max_seconds)
        audio = resample(audio, SAMPLE_RATE, loaded.frontend.sample_rate)
        inputs = loaded.place(loaded.frontend.inputs([audio], sample.prompt, sample.system))
        found = answer(loaded, inputs, LONGEST_ANSWER)
        return {"text": found.text, "complete": found.complete}

    records = work.each("answers", samples, said, tick)
    found = [replace(s, answer=told["text"]) for s, told in zip(samples, records, strict=True)]
    cut = sum(not told["complete"] for told in records)
    if cut:
        say(
            f"{cut} of {len(found)} answers were cut at {LONGEST_ANSWER} tokens, and are references"
            " as far as they go",
            "warning",
        )
    return found
