"""Calibration samples: the shipped scenes, a JSONL manifest, or an audio folder.

Every sample carries a *cluster* (its speaker or source clip). Samples that take part in a choice
and samples of the closing report never share one, nor do two folds of the cross-validation.
"""

from __future__ import annotations

import csv
import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from headrouter_core.errors import UsageError

GROUPS = ("semantic", "acoustic")
FOLDS = 3
#: Fold number of the samples that take no part in any choice.
REPORT = -1
_AUDIO_KEYS = ("audio_filepath", "file_name")
_TEXT_KEYS = ("task", "group", "prompt", "answer")


@dataclass(frozen=True)
class Sample:
    """One recording, one question about it, and the reference answer."""

    id: str
    task: str
    group: str
    prompt: str
    answer: str
    cluster: str
    fold: int
    """0..2, or -1 for a sample of the closing report."""
    read: Callable[[], np.ndarray] = field(compare=False, repr=False)
    """The audio: float32 mono at 16 kHz."""

    @property
    def held_out(self) -> bool:
        """Whether the sample is kept out of every choice."""
        return self.fold == REPORT


def shipped_samples(
    per_category: int, *, seed: int = 0, seconds: float = 10.0, report: bool = True
) -> list[Sample]:
    """Scenes composed from the packaged calibration clips, all of one length.

    Per task ``per_category`` samples to estimate on and as many for the report, from parts of the
    clips that share no speaker and no recording (see :mod:`tiny_omni.parts`).
    """
    from tiny_omni.clips import Bank, load_clips
    from tiny_omni.parts import parts
    from tiny_omni.questions import TASKS, pose

    banks = {fold: Bank(clips) for fold, clips in parts(load_clips("calibration"), FOLDS).items()}
    samples = []
    for task, spec in TASKS.items():
        numbered = [(index % FOLDS, index) for index in range(per_category)]
        if report:
            numbered += [(REPORT, index) for index in range(per_category)]
        for fold, index in numbered:
            name = f"{seed}/{'report' if fold == REPORT else fold}/{task}/{index}"
            scene, question, cluster = pose(banks[fold], task, index, name, seconds)
            samples.append(
                Sample(
                    id=f"scene/{seconds:g}s/{name}",
                    task=task,
                    group=spec.group,
                    prompt=question.prompt,
                    answer=question.answer,
                    cluster=cluster,
                    fold=fold,
                    read=lambda samples=scene.samples: samples,
                )
            )
    return samples


def manifest_samples(path: Path, per_category: int, *, seed: int = 0) -> list[Sample]:
    """Samples of a JSONL manifest or of a folder with ``metadata.csv`` or ``metadata.jsonl``.

    Each entry has ``audio_filepath`` or ``file_name`` (relative to the manifest), ``task``,
    ``group`` (semantic or acoustic), ``prompt``, ``answer``, and optionally ``speaker`` or
    ``source``, which keeps what shares one on one side of every split. Per task, up to
    ``per_category`` samples serve the choices and as many the report; which ones follows from the
    seed. Raises ``UsageError`` naming file and line for anything that is not so.
    """
    listed = [_sample(entry, where, path) for where, entry in _entries(_manifest_file(path))]
    if not listed:
        raise UsageError(f"{path}: the manifest has no entries")
    twice = _first_repeated(sample.id for sample in listed)
    if twice is not None:
        raise UsageError(f"{path}: two entries are {twice!r}; give each audio and prompt once")
    _refuse_mixed_groups(listed, path)
    return _drawn(listed, per_category, seed, path)


def _manifest_file(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise UsageError(f"{path}: no such manifest or folder")
    for name in ("metadata.jsonl", "metadata.csv"):
        if (path / name).is_file():
            return path / name
    raise UsageError(f"{path}: the folder has neither metadata.jsonl nor metadata.csv")


def _entries(path: Path) -> Iterable[tuple[str, dict]]:
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text (byte {error.start})") from error
    if path.suffix.lower() == ".csv":
        reader = csv.DictReader(text.splitlines(), strict=True)
        try:
            for row in reader:
                yield f"{path}:{reader.line_num}", row
        except csv.Error as error:
            raise UsageError(f"{path}:{reader.line_num}: not CSV: {error}") from error
        return
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            raise UsageError(f"{path}:{number}: not JSON: {error}") from error
        if not isinstance(entry, dict):
            raise UsageError(f"{path}:{number}: expected a JSON object, got {line.strip()[:60]}")
        yield f"{path}:{number}", entry


def _sample(entry: dict, where: str, manifest: Path) -> Sample:
    from calibrate.audio import load_audio

    name = next((entry[key] for key in _AUDIO_KEYS if entry.get(key)), None)
    if not isinstance(name, str):
        raise UsageError(f"{where}: needs a text in {' or '.join(_AUDIO_KEYS)}")
    for key in _TEXT_KEYS:
        if not isinstance(entry.get(key), str) or not entry[key].strip():
            raise UsageError(f"{where}: needs a text in {key!r}, got {entry.get(key)!r}")
    if entry["group"] not in GROUPS:
        raise UsageError(f"{where}: group is {entry['group']!r}; expected {' or '.join(GROUPS)}")
    folder = manifest if manifest.is_dir() else manifest.parent
    path = folder / name
    if not path.is_file():
        raise UsageError(f"{where}: no such audio file: {path}")
    return Sample(
        id=f"{name}#{_digest(entry['prompt'] + chr(0) + entry['answer'])[:8]}",
        task=entry["task"],
        group=entry["group"],
        prompt=entry["prompt"],
        answer=entry["answer"],
        cluster=str(entry.get("speaker") or entry.get("source") or name),
        fold=0,
        read=lambda: load_audio(path),
    )


def _refuse_mixed_groups(samples: list[Sample], path: Path) -> None:
    groups: dict[str, str] = {}
    for sample in samples:
        if groups.setdefault(sample.task, sample.group) != sample.group:
            raise UsageError(f"{path}: task {sample.task!r} is in both groups; name two tasks")
    for group in GROUPS:
        if group not in groups.values():
            raise UsageError(
                f"{path}: no {group} task; a profile needs both groups (semantic: what is said, "
                "acoustic: how it sounds)"
            )


def _drawn(samples: list[Sample], per_category: int, seed: int, path: Path) -> list[Sample]:
    """Draw the samples of each task and split them by cluster."""
    clusters = sorted({sample.cluster for sample in samples}, key=lambda c: _digest(f"{seed}/{c}"))
    if len(clusters) < 2 * FOLDS:
        raise UsageError(
            f"{path}: {len(clusters)} distinct recordings or speakers; calibration needs at least "
            f"{2 * FOLDS} to keep its folds and its report apart"
        )
    held = set(clusters[: max(1, len(clusters) // 3)])
    folds = {name: i % FOLDS for i, name in enumerate(c for c in clusters if c not in held)}
    by_task: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_task[sample.task].append(replace(sample, fold=folds.get(sample.cluster, REPORT)))
    drawn = []
    for task in sorted(by_task):
        pool = by_task[task]
        random.Random(f"{seed}/{task}").shuffle(pool)
        chosen = [sample for sample in pool if not sample.held_out][:per_category]
        report = [sample for sample in pool if sample.held_out][:per_category]
        if not chosen or not report:
            raise UsageError(
                f"{path}: task {task!r} has {len(chosen)} samples to calibrate on and "
                f"{len(report)} for the report; add recordings of other speakers or sources"
            )
        drawn += chosen + report
    return drawn


def manifest_digest(samples: list[Sample]) -> str:
    """sha256 over ids, prompts, answers, folds and audio of the samples, in their order."""
    digest = hashlib.sha256()
    for sample in samples:
        row = [sample.id, sample.task, sample.group, sample.prompt, sample.answer, sample.fold]
        digest.update(json.dumps(row, ensure_ascii=False).encode())
        digest.update(np.ascontiguousarray(sample.read(), dtype="<f4").tobytes())
    return digest.hexdigest()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _first_repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
