"""The file under a profile: tensors plus one metadata key of canonical JSON, in safetensors.

Knows the format and nothing of what the values mean. safetensors writes several metadata keys in
random order, so one key, canonically spelt, is what makes equal content equal bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from headrouter_core.errors import HeadRouterError, ProfileError, UsageError

#: The metadata key.
KEY = "headrouter"

#: Profiles weigh kilobytes; a larger file is something else.
MAX_BYTES = 64 * 2**20


def canonical_json(value: object) -> str:
    """Return JSON with sorted keys, no spaces, ASCII only.

    Raises:
        ProfileError: something that is not JSON, NaN and infinity included.
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ProfileError(f"the metadata cannot be written as JSON: {error}") from error


def to_bytes(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]) -> bytes:
    """Return the file for CPU tensors and metadata; equal content gives equal bytes."""
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    return save(whole, {KEY: canonical_json(metadata)})


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the tensors and the parsed metadata of the file at ``path``.

    Raises:
        ProfileError: no such file, not a file, too large, not safetensors, damaged, or without
            headrouter's metadata. The message does not name the file.
    """
    try:
        _check_file(path)
        with safe_open(path, framework="pt") as file:
            metadata = _parse(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, RuntimeError, TypeError, ValueError) as error:
        raise ProfileError(
            f"not a readable safetensors file ({error}); copy or download it again"
        ) from error
    except OSError as error:
        raise ProfileError(f"cannot be read: {error.strerror or error}") from error
    return tensors, metadata


def write(path: Path, content: bytes, *, force: bool = False) -> None:
    """Put ``content`` at ``path`` in one step: a reader finds the old file, the new one, or none.

    Raises:
        UsageError: ``path`` exists and ``force`` is not given, or its folder does not exist.
        HeadRouterError: the system refuses to write.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give the name of a file")
    if path.exists() and not force:
        raise UsageError(f"{path} exists; choose another name, or force to replace it")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is not a folder; create it first")
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise HeadRouterError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _check_file(path: Path) -> None:
    if not os.path.exists(path):
        raise ProfileError("no such file; check the path, or make a profile: headrouter calibrate")
    if not path.is_file():
        raise ProfileError("not a file; give the path of a .safetensors file")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ProfileError(f"{size} bytes long, and a profile has at most {MAX_BYTES}")


def _parse(entries: Mapping[str, str]) -> dict[str, Any]:
    if KEY not in entries:
        raise ProfileError(f"no headrouter profile: its metadata has no key {KEY!r}")
    try:
        metadata = json.loads(entries[KEY])
    except (ValueError, RecursionError) as error:
        raise ProfileError(f"metadata {KEY!r} is not JSON: {error}") from error
    if not isinstance(metadata, dict):
        raise ProfileError(f"metadata {KEY!r} is not a JSON object")
    canonical_json(metadata)  # refuses NaN and infinity, which json.loads lets through
    return metadata
