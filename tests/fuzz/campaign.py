"""Feeding damaged files to what reads them, and counting how that ends."""

from __future__ import annotations

import collections
import hashlib
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from headrouter_core import HeadRouterError

#: Seconds that any file may take.
LIMIT = 10.0


@dataclass(frozen=True)
class Target:
    """Something that reads files, and how to make files for it."""

    name: str
    suffix: str
    """Of the files."""
    make: Callable[[Random], bytes]
    """Makes one file."""
    read: Callable[[Path], None]
    """Reads it and uses all of it; raises ``HeadRouterError`` to refuse it."""


@dataclass
class Report:
    """How a campaign went."""

    tries: int = 0
    refused: int = 0
    slowest: float = 0.0
    """Seconds."""
    faults: collections.Counter[str] = field(default_factory=collections.Counter)
    """What went wrong: the exception's type and the innermost place in our code."""

    @property
    def accepted(self) -> int:
        """Files that were read to their end."""
        return self.tries - self.refused - self.faults.total()


class _TooLongError(Exception):
    """A file took more than its time."""


def run(target: Target, *, seed: int, tries: int, keep: Path | None = None) -> Report:
    """Try ``tries`` files on ``target``; file n depends on ``seed`` and n only.

    Args:
        keep: folder for files that are at fault.
    """
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"file{target.suffix}")
        for number in range(tries):
            content = target.make(Random(f"{target.name} {seed} {number}"))
            path.write_bytes(content)
            _try(target, path, report)
            if keep is not None and report.faults.total() > len(list(keep.glob("*"))):
                digest = hashlib.sha256(content).hexdigest()[:12]
                name = f"{target.name}-{seed}-{number}-{digest}{target.suffix}"
                (keep / name).write_bytes(content)
    return report


def _try(target: Target, path: Path, report: Report) -> None:
    begun = time.perf_counter()
    report.tries += 1
    try:
        with _limited(LIMIT), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.read(path)
    except HeadRouterError:
        report.refused += 1
    except Exception as error:  # whatever else it is, it is what is looked for
        report.faults[f"{type(error).__name__} {_place(error)}"] += 1
    report.slowest = max(report.slowest, time.perf_counter() - begun)


def _place(error: BaseException) -> str:
    """Return file and function of the innermost frame in this project."""
    root = Path(__file__).parents[2]
    ours = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(root) and "tests" not in Path(frame.filename).parts
    ]
    return f"{Path(ours[-1].filename).name}:{ours[-1].name}" if ours else "elsewhere"


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise in the block once it has taken ``seconds``; for the main thread."""

    def stop(number: int, frame: object) -> None:
        raise _TooLongError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
