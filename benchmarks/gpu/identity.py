"""What a number belongs to: settings, a machine, and the code that was measured."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from benchmarks.gpu.plan import Measurement

ROOT = Path(__file__).parents[2]
#: What a measurement runs; other code changes no number.
_MEASURED = "headrouter_core", "benchmarks/measuring", "benchmarks/subjects"
#: What two kinds run beside it.
_MORE = {"calibration": ("calibrate/estimation",), "tests": ("calibrate", "tests")}


def key(measurement: Measurement, machine: dict[str, Any]) -> dict[str, Any]:
    """Return what has to be the same for a measurement to stand, JSON-ready.

    Args:
        measurement: its settings.
        machine: as :func:`benchmarks.measuring.machine.environment` says.
    """
    settings = json.loads(json.dumps(dataclasses.asdict(measurement)))
    folders = *_MEASURED, *_MORE.get(measurement.kind, ())
    return {"settings": settings, "machine": machine, "code": code(folders)}


@functools.cache
def code(folders: tuple[str, ...]) -> str:
    """Return a digest of the Python files below folders of the checkout."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name, content = path.relative_to(ROOT).as_posix(), path.read_bytes()
            digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


def identifier(measurement: Measurement, key: dict[str, Any]) -> str:
    """Return a name that no other settings, machine or code gives."""
    text = json.dumps(key, sort_keys=True, separators=(",", ":"))
    return f"{measurement.name} [{hashlib.sha256(text.encode()).hexdigest()[:16]}]"
