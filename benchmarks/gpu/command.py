"""A whole run of the GPU benchmark: its options, its files, its last words."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.gpu.plan import KINDS, plan
from benchmarks.gpu.session import Progress, measure
from benchmarks.gpu.showing.document import document
from benchmarks.gpu.showing.page import page
from benchmarks.subjects.shapes import SHAPES
from calibrate.models.placement import choose_device
from calibrate.terminal.console import say, show
from headrouter_core import UsageError
from headrouter_core.basics.writing import write

Value = TypeVar("Value")


@dataclass(frozen=True)
class Asked:
    """What the command line says."""

    device: str
    shapes: str
    seconds: str
    batches: str
    kinds: str
    minutes: float

    @property
    def command(self) -> str:
        """The command that does it again."""
        kinds = f" --kinds {self.kinds}" if self.kinds else ""
        return (
            f"python -m benchmarks.gpu --device {self.device} --shapes {self.shapes}"
            f" --seconds {self.seconds} --batches {self.batches}{kinds}"
        )


def run(asked: Asked, folder: Path) -> bool:
    """Measure what the journal in ``folder`` lacks, and write gpu.json and gpu.md there.

    Returns:
        Whether nothing failed: no test, and no measurement that was begun.

    Raises:
        UsageError: an option that is out of range or unknown.
        HeadRouterError: the system refuses to write.
    """
    measurements = plan(
        _known("shapes", asked.shapes, SHAPES),
        _numbers("seconds", asked.seconds, float, 1, 3600),
        _numbers("batches", asked.batches, int, 1, 64),
        _known("kinds", asked.kinds or ",".join(KINDS), KINDS),
    )
    device, _ = choose_device(asked.device)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror}") from error

    def save(progress: Progress) -> None:
        found = document(progress, measurements, asked.command)
        write(folder / "gpu.json", (json.dumps(found, indent=1) + "\n").encode(), force=True)
        write(folder / "gpu.md", page(found).encode(), force=True)

    progress = measure(measurements, device, folder / "journal.jsonl", asked.minutes, save)
    show(page(document(progress, measurements, asked.command)))
    measured = len(progress.lines) - progress.resumed
    say(
        f"{measured} measured, {progress.resumed} taken from the journal, {len(progress.skipped)}"
        f" skipped, {len(progress.failed)} failed, {len(progress.left)} left; {folder / 'gpu.md'}"
    )
    if progress.left:
        say("the same command goes on with what is left")
    return not progress.failed


def _known(option: str, text: str, names: Collection[str]) -> list[str]:
    chosen = list(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in chosen:
        if name not in names:
            raise UsageError(f"--{option} has no {name!r}; known are {', '.join(names)}")
    return chosen


def _numbers(
    option: str, text: str, kind: Callable[[str], Any], low: float, high: float
) -> list[Any]:
    try:
        found = sorted({kind(part) for part in text.split(",")})
    except ValueError as error:
        raise UsageError(f"--{option} {text} holds what is no number; say 1,8") from error
    for number in found:
        if not low <= number <= high:
            raise UsageError(f"--{option} {number:g} is outside [{low:g}, {high:g}]")
    return found
