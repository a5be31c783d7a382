"""What ``--data`` stands for."""

from __future__ import annotations

import functools
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import numpy as np

from calibrate.evaluation.datasets.audiomarathon import audiomarathon
from calibrate.evaluation.datasets.manifest import manifest
from calibrate.evaluation.datasets.mmau_pro import mmau_pro
from calibrate.evaluation.datasets.scenes import scenes
from calibrate.evaluation.scoring.items import Dataset, Item, Reader
from calibrate.terminal.errors import AudioError
from headrouter_core.errors import UsageError
from tiny_omni.clips import SPLITS
from tiny_omni.scenes import MAX_SECONDS, MIN_SECONDS

SCENES = "scenes"
#: Benchmarks -> what reads them from the folder that is given behind a colon.
BENCHMARKS: dict[str, Callable[[Path], Dataset]] = {
    "audiomarathon": audiomarathon,
    "mmau-pro": mmau_pro,
}
#: What is taken of the scenes unless it is said.
SECONDS, PER_TASK, SPLIT = 10.0, 20, "test"


def read_data(
    data: str,
    *,
    seconds: float | None = None,
    per_task: int | None = None,
    split: str | None = None,
) -> Dataset:
    """Read the set that ``--data`` names.

    Args:
        data: ``scenes``; a benchmark, a colon and its folder; or a manifest or audio folder.
        seconds: length of the scenes, for these alone.
        per_task: number of scenes a task.
        split: split of the clips that scenes are composed from.

    Raises:
        UsageError: no such set, one that cannot be read, or an option that it does not take.
    """
    options = {"--seconds": seconds, "--per-task": per_task, "--split": split}
    if data == SCENES:
        return _scenes(seconds or SECONDS, per_task or PER_TASK, split or SPLIT)
    given = next((name for name, value in options.items() if value is not None), None)
    if given is not None:
        raise UsageError(f"{given} is for --data {SCENES}, and --data is {data}")
    found = benchmark(data)
    if found is not None:
        return found
    if not os.path.exists(data):
        known = ", ".join([SCENES, *(f"{name}:DIR" for name in BENCHMARKS)])
        raise UsageError(
            f"there is no data set, file or folder {data!r}; known are {known}, and the path of a"
            " JSONL manifest or of a folder with metadata.jsonl or metadata.csv"
        )
    path = Path(data)
    return _inside(manifest(path), path if path.is_dir() else path.parent)


def benchmark(data: str) -> Dataset | None:
    """Read a benchmark and its folder, ``name:DIR``; ``None`` where ``data`` is none.

    Raises:
        UsageError: no such folder, or one that cannot be read.
    """
    name, colon, folder = data.partition(":")
    if os.path.exists(data) or not colon or name not in BENCHMARKS:
        return None
    return _inside(BENCHMARKS[name](_folder(name, folder)), Path(folder))


def in_turn(items: Sequence[Item], number: int) -> list[Item]:
    """Return at most ``number`` items: groups and in these tasks take turns."""
    by_group: dict[str | None, dict[str, list[Item]]] = defaultdict(lambda: defaultdict(list))
    for item in items:
        by_group[item.group][item.task].append(item)
    turns = [_alternate(list(tasks.values())) for tasks in by_group.values()]
    return _alternate(turns)[:number]


def limited(dataset: Dataset, limit: int | None) -> Dataset:
    """Return the set with at most ``limit`` items, which it then knows to be incomplete."""
    if limit is None or limit >= len(dataset.items):
        return dataset
    chosen = {item.id for item in in_turn(dataset.items, limit)}
    had = Counter(item.task for item in dataset.items)
    had.update(fault.task for fault in dataset.faults)
    return replace(
        dataset,
        items=tuple(item for item in dataset.items if item.id in chosen),
        expected={**had, **dataset.expected},
    )


def _alternate(lists: Sequence[list[Item]]) -> list[Item]:
    return [item for turn in zip_longest(*lists) for item in turn if item is not None]


def _inside(dataset: Dataset, root: Path) -> Dataset:
    """Return the set with errors that name audio as it lies in ``root``, wherever that is."""
    items = [
        replace(item, audios=tuple(functools.partial(_read, root, audio) for audio in item.audios))
        for item in dataset.items
    ]
    return replace(dataset, items=tuple(items))


def _read(root: Path, audio: Reader, *, max_seconds: float) -> np.ndarray:
    try:
        return audio(max_seconds=max_seconds)
    except AudioError as error:
        raise type(error)(str(error).replace(f"{root}{os.sep}", "")) from error


def _scenes(seconds: float, per_task: int, split: str) -> Dataset:
    if split not in SPLITS:
        raise UsageError(f"there is no split {split!r}; known are {', '.join(SPLITS)}")
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise UsageError(
            f"scenes are {MIN_SECONDS:g} to {MAX_SECONDS:g} s long, and --seconds is {seconds:g}"
        )
    return scenes(seconds, per_task, split)


def _folder(name: str, folder: str) -> Path:
    if not os.path.isdir(folder):
        raise UsageError(f"{folder!r} is no folder; give {name}:DIR with the folder of the set")
    return Path(folder)
