"""The development part of a benchmark: what a profile may be calibrated on.

A quarter of its speakers and source clips, the same whatever is drawn from it. Items of it that a
calibration does not take can be evaluated on.
"""

from __future__ import annotations

import functools
import hashlib

from calibrate.estimation.samples.sample import Sample, drawn, refuse_one_group
from calibrate.evaluation.datasets.sources import benchmark
from calibrate.evaluation.scoring.items import CHOICE, JUDGED, Item
from calibrate.sound.reading import LONGEST
from calibrate.terminal.console import say

#: One speaker or clip of so many is of the development part.
ONE_OF = 4


def development_samples(
    data: str, per_category: int, *, seed: int = 0, report: int | None = None
) -> list[Sample] | None:
    """Draw samples of a benchmark, ``name:DIR``; ``None`` where ``data`` is none.

    Of items that have a group, a reference answer and one recording. See
    :func:`calibrate.estimation.samples.sample.manifest_samples` for how they are drawn.

    Raises:
        UsageError: no such folder, not the benchmark, or too little of it there.
    """
    samples = _development(data)
    if samples is None:
        return None
    part = f"the development part of {data}"
    refuse_one_group({sample.group for sample in samples}, part)
    return drawn(samples, per_category, per_category if report is None else report, seed, part)


@functools.cache
def _development(data: str) -> list[Sample] | None:
    """All samples of the development part; read once, as stability draws several times."""
    dataset = benchmark(data)
    if dataset is None:
        return None
    if dataset.faults:
        first = dataset.faults[0]
        say(
            f"{len(dataset.faults)} items of {dataset.name} cannot be used, the first: {first.id}:"
            f" {first.reason}",
            "warning",
        )
    return [
        _sample(item)
        for item in dataset.items
        if item.group is not None
        and item.kind != JUDGED
        and len(item.audios) == 1
        and is_development(dataset.name, item.cluster)
    ]


def is_development(name: str, cluster: str) -> bool:
    """Whether a speaker or clip of a set is of its development part."""
    digest = hashlib.sha256(f"{name}/{cluster}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % ONE_OF == 0


def _sample(item: Item) -> Sample:
    assert item.group is not None
    answer = item.reference
    if item.kind == CHOICE:  # its label may be a text, and what is said is a letter
        answer = item.answers[item.labels.index(item.reference)]
    return Sample(
        id=item.id,
        task=item.task,
        group=item.group,
        prompt=item.prompt,
        answer=answer,
        cluster=item.cluster,
        fold=0,
        read=functools.partial(item.audios[0], max_seconds=LONGEST),
        system=item.system,
    )
