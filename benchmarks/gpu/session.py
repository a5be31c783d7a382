"""One sitting at a device: what is in the journal is not measured again, what is left is said."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu import estimate, identity
from benchmarks.gpu.plan import Measurement
from benchmarks.gpu.taking import Taker
from benchmarks.measuring.machine import environment
from calibrate.running import journal
from calibrate.terminal.console import say
from calibrate.terminal.exits import describe, is_out_of_memory

#: Of the device's memory; the rest is for what kernels use inside themselves.
_USABLE = 0.95
#: The first line of the journal; every other line says itself what it belongs to.
_HEADER = {"benchmark": "gpu", "schema": 1}


@dataclass
class Progress:
    """What became of each measurement so far."""

    machine: dict[str, Any]
    lines: list[dict[str, Any]] = field(default_factory=list)
    """Of what is measured, in the order of the plan: name, key, date, took, result."""
    resumed: int = 0
    """How many of these were in the journal."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Name -> why it cannot be measured on this device."""
    failed: dict[str, str] = field(default_factory=dict)
    """Name -> what went wrong; tried again next time."""
    left: list[str] = field(default_factory=list)
    """Names of what there was no time for."""


def measure(
    measurements: Sequence[Measurement],
    device: torch.device,
    path: Path,
    minutes: float,
    done: Callable[[Progress], None],
    machine: estimate.Machine | None = None,
) -> Progress:
    """Take all measurements that are not in the journal at ``path``, as long as there is time.

    Time is looked at between measurements: one begins if its estimate, times how much slower than
    estimated those before it were, ends within ``minutes``. Shorter ones further on still do.

    Args:
        measurements: in the order in which they are taken.
        device: where.
        path: the journal; begun if it is not there.
        minutes: from now on.
        done: called whenever something was measured, and once in the end.
        machine: what estimates assume; that of ``device`` unless given.

    Raises:
        UsageError: ``path`` is another file, or another process is writing it.
        HeadRouterError: it cannot be written.
    """
    deadline = time.monotonic() + 60 * minutes
    machine = machine or estimate.machine(device)
    progress, taker, pace = Progress(environment(device)), Taker(device), _Pace()
    with journal.opened(path, _HEADER) as kept:
        for measurement in measurements:
            key = identity.key(measurement, progress.machine)
            name = identity.identifier(measurement, key)
            if name in kept.lines:
                progress.lines.append(kept.lines[name])
                progress.resumed += 1
                continue
            if reason := measurement.impossible or _too_large(measurement, machine):
                progress.skipped[measurement.name] = reason
                continue
            guess = estimate.seconds(measurement, machine)
            if measurement.shape not in ("", taker.shape):
                guess += estimate.DRAWING_SECONDS
            remaining = deadline - time.monotonic()
            if pace.of(guess) > remaining:
                progress.left.append(measurement.name)
                continue
            started = time.monotonic()
            result = _tried(taker, measurement, remaining, progress)
            took = time.monotonic() - started
            pace.note(guess, took)
            if result is None:
                continue
            line = {
                "id": name,
                "name": measurement.name,
                "key": key,
                "date": datetime.now(UTC).date().isoformat(),
                "took": round(took, 1),
                "result": result,
            }
            progress.lines.append(line)
            if result.get("failed"):  # tests: shown, and run again next time
                progress.failed[measurement.name] = f"{len(result['failed'])} failed"
            else:
                kept.write(line)
            say(f"{measurement.name}: {took:.1f} s")
            done(progress)
    done(progress)
    return progress


def _tried(
    taker: Taker, measurement: Measurement, timeout: float, progress: Progress
) -> dict[str, Any] | None:
    """Return what is found, or note why there is nothing and go on: time at a device is scarce."""
    try:
        return taker.take(measurement, timeout)
    except Exception as error:
        full = is_out_of_memory(error)
        reason = "out of memory, against the estimate" if full else describe(error)
        progress.failed[measurement.name] = reason
        say(f"{measurement.name}: {reason}", "error")
    taker.tidy()
    return None


def _too_large(measurement: Measurement, machine: estimate.Machine) -> str | None:
    needed = estimate.memory(measurement)
    if needed <= machine.memory * _USABLE:
        return None
    return f"needs {needed / 2**30:.1f} GiB, and the device has {machine.memory / 2**30:.1f} GiB"


class _Pace:
    """How much slower than estimated measurements are here; never taken to be faster."""

    def __init__(self) -> None:
        self._guessed = self._took = 0.0

    def note(self, guess: float, took: float) -> None:
        self._guessed += guess
        self._took += took

    def of(self, guess: float) -> float:
        return guess * max(1.0, self._took / self._guessed if self._guessed else 1.0)
