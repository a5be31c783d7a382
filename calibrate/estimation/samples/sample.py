"""Calibration samples: the shipped scenes, a JSONL manifest, or an audio folder.

Every sample carries a *cluster* (its speaker or source clip). Samples that take part in a choice
and samples of the closing report never share one, nor do two folds of the cross-validation.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import random
from collections import defaultdict
from collections.abc import Callable, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from calibrate.estimation.samples.manifests import GROUPS, Entry, read_manifest
from headrouter_core.errors import UsageError

FOLDS = 3
#: Fold number of the samples that take no part in any choice.
REPORT = -1
#: Group of samples whose group is not known: only pooled head weights are fitted to them.
UNGROUPED = "pooled"
#: Length of the shipped scenes that choices are judged on beside those of 10 s: what wins at one
#: length may lose at another.
OTHER_SECONDS = 30.0


@dataclass(frozen=True)
class Sample:
    """One recording, one question about it, and the reference answer."""

    id: str
    task: str
    group: str
    """``semantic``, ``acoustic``, or :data:`UNGROUPED`."""
    prompt: str
    answer: str
    cluster: str
    fold: int
    """0..2, or -1 for a sample of the closing report."""
    read: Callable[..., np.ndarray] = field(compare=False, repr=False)
    """The audio: float32 mono at 16 kHz; takes ``max_seconds``, the longest that is read."""
    where: str = field(default="", compare=False, repr=False)
    """File and line of a manifest, for messages."""
    system: str | None = None
    """Replaces the chat template's own system prompt."""
    background: str = ""
    """The clip behind it, where several samples share one; empty where that is its cluster."""

    @property
    def held_out(self) -> bool:
        """Whether the sample is kept out of every choice."""
        return self.fold == REPORT


def shipped_samples(
    per_category: int, *, seed: int = 0, seconds: float = 10.0, report: int | None = None
) -> list[Sample]:
    """Scenes composed from the packaged calibration clips, all of one length.

    Per task ``per_category`` samples to estimate on and ``report`` (unless given, as many) for the
    report, from parts of the clips that share no speaker and no recording (see
    :mod:`tiny_omni.parts`). A task whose clips are of one speaker is in one fold.
    """
    from tiny_omni.clips import Bank, load_clips
    from tiny_omni.parts import parts
    from tiny_omni.questions import TASKS, pose

    banks = {fold: Bank(clips) for fold, clips in parts(load_clips("calibration"), FOLDS).items()}
    samples = []
    for task, spec in TASKS.items():
        able = [fold for fold in range(FOLDS) if all(map(banks[fold].holds, spec.needs))]
        numbered = [(able[index % len(able)], index) for index in range(per_category)]
        count = per_category if report is None else report
        numbered += [(REPORT, index) for index in range(count)]
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
                    read=lambda samples=scene.samples, **_: samples,
                    background=scene.behind(cluster),
                )
            )
    return samples


def other_lengths(seed: int = 0) -> list[Sample]:
    """Scenes of another length, three a task, of the clips that choices are made on."""
    return shipped_samples(FOLDS, seed=seed, seconds=OTHER_SECONDS, report=0)


def manifest_samples(
    path: Path, per_category: int, *, seed: int = 0, report: int | None = None
) -> list[Sample]:
    """Samples of a manifest (see :func:`calibrate.estimation.samples.manifests.read_manifest`).

    What shares a ``speaker`` or ``source`` stays on one side of every split. Per task, up to
    ``per_category`` samples serve the choices and up to ``report`` (unless given, as many) the
    report; which ones follows from the seed. Raises ``UsageError`` naming file and line for an
    audio file that is not there.
    """
    listed = [_sample(entry) for entry in read_manifest(path)]
    refuse_one_group({sample.group for sample in listed}, path)
    return drawn(listed, per_category, per_category if report is None else report, seed, path)


def _sample(entry: Entry) -> Sample:
    from calibrate.sound.reading import load_audio

    if not os.path.isfile(entry.path):
        raise UsageError(f"{entry.where}: no such audio file: {entry.path}")
    return Sample(
        id=entry.id,
        task=entry.task,
        group=entry.group,
        prompt=entry.prompt,
        answer=entry.answer,
        cluster=entry.cluster,
        fold=0,
        where=entry.where,
        read=functools.partial(
            load_audio, entry.path, offset=entry.offset, duration=entry.duration
        ),
    )


def refuse_one_group(present: Set[str], path: Path | str) -> None:
    """Raise ``UsageError`` where one of the two groups is missing."""
    for group in GROUPS:
        if group not in present:
            raise UsageError(
                f"{path}: no {group} task; a profile needs both groups (semantic: what is said, "
                "acoustic: how it sounds)"
            )


def drawn(
    samples: list[Sample], per_category: int, report: int, seed: int, path: Path | str
) -> list[Sample]:
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
    found = []
    for task in sorted(by_task):
        pool = by_task[task]
        random.Random(f"{seed}/{task}").shuffle(pool)
        chosen = [sample for sample in pool if not sample.held_out][:per_category]
        kept_out = [sample for sample in pool if sample.held_out][:report]
        if not chosen or not kept_out:
            raise UsageError(
                f"{path}: task {task!r} has {len(chosen)} samples to calibrate on and "
                f"{len(kept_out)} for the report; add recordings of other speakers or sources"
            )
        found += chosen + kept_out
    return found


def manifest_digest(samples: list[Sample]) -> str:
    """sha256 over ids, prompts, answers, folds and audio of the samples, in their order."""
    digest = hashlib.sha256()
    for sample in samples:
        row = [sample.id, sample.task, sample.group, sample.prompt, sample.answer, sample.fold]
        row += [] if sample.system is None else [sample.system]
        digest.update(json.dumps(row, ensure_ascii=False).encode())
        digest.update(np.ascontiguousarray(sample.read(), dtype="<f4").tobytes())
    return digest.hexdigest()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
