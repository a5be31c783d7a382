"""What is fuzzed: profiles, manifests and recordings, up to all that is made of them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from typer.testing import CliRunner

from calibrate.cli import app
from calibrate.evaluation.datasets.manifest import manifest
from calibrate.sound.reading import load_audio
from headrouter_core import HeadRouter, HeadRouterError, load_profile
from headrouter_core.profile import bundle

from .campaign import Target
from .mutation import ODD, altered, damaged

ROOT = Path(__file__).parents[2]


@cache
def _profile() -> tuple[bytes, dict[str, Any], dict[str, Any]]:
    """Return the shipped profile: its bytes, tensors and metadata."""
    profile = load_profile("tiny-omni")
    content = bundle.to_bytes(profile.tensors, profile.metadata())
    return content, dict(profile.tensors.items()), profile.metadata()


def _make_profile(random: Random) -> bytes:
    """Damage the file, or its content under a checksum that is right."""
    content, tensors, metadata = _profile()
    if random.random() < 0.5:
        return damaged(content, random)
    if random.random() < 0.3:
        tensors = dict(tensors)
        name = random.choice(list(tensors))
        value = random.choice((0.0, -1.0, float("nan"), float("inf"), 1e30))
        tensors[name] = (
            tensors[name].flatten()[: random.randrange(9)]
            if random.random() < 0.3
            else tensors[name].clone().fill_(value if tensors[name].is_floating_point() else -1)
        )
    metadata = altered(metadata, random)
    try:
        return bundle.to_bytes(tensors, metadata if isinstance(metadata, dict) else {})
    except HeadRouterError:  # nothing that JSON can hold: try its bytes
        return damaged(content, random)


def _read_profile(path: Path) -> None:
    """Load it, show it in each way, and let it route."""
    profile = load_profile(path)
    HeadRouter(profile)
    for options in ((), ("--json",)):
        result = CliRunner().invoke(app, ["inspect", str(path), *options])
        if result.exit_code:
            raise AssertionError(f"inspect {options}: {result.exit_code}: {result.output[-300:]}")


_LINE = {
    "audio_filepath": "demo.flac",
    "task": "digits",
    "group": "semantic",
    "prompt": "Which digits?",
    "answer": "one two",
    "speaker": 3,
    "offset": 1.5,
    "duration": 2,
    "kind": "label",
    "choices": ["one two", "three"],
}


def _make_manifest(random: Random) -> bytes:
    """Alter lines, then perhaps their bytes."""
    lines = [dict(_LINE, prompt=f"Which digits? {n}") for n in range(3)]
    lines[1] = altered(lines[1], random)
    if random.random() < 0.2:
        lines.append(random.choice(ODD))
    text = "\n".join(json.dumps(line) for line in lines).encode()
    return damaged(text, random) if random.random() < 0.4 else text


def _read_manifest(path: Path) -> None:
    manifest(path)


@cache
def _recordings() -> tuple[bytes, ...]:
    """Return recordings of many kinds, short enough for thousands of tries."""
    folder = ROOT / "tests" / "calibrate" / "sound" / "files"
    files = sorted(path for path in folder.iterdir() if path.suffix not in (".md", ".npz"))
    return tuple(path.read_bytes() for path in files)


def _make_recording(random: Random) -> bytes:
    return damaged(random.choice(_recordings()), random)


def _read_recording(path: Path) -> None:
    load_audio(path)


TARGETS = (
    Target("profiles", ".safetensors", _make_profile, _read_profile),
    Target("manifests", ".jsonl", _make_manifest, _read_manifest),
    # without a telling suffix: what it is has to be read from its content
    Target("recordings", ".audio", _make_recording, _read_recording),
)
