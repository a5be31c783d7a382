"""The file under a profile: tensors plus one metadata key of canonical JSON, in safetensors.

Knows the format and nothing of what the values mean. safetensors writes several metadata keys in
random order, so one key, canonically spelt, is what makes equal content equal bytes. The JSON holds
a checksum over itself and the tensors, which does not depend on how safetensors lays a file out.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from headrouter_core.errors import ProfileError

#: The metadata key.
KEY = "headrouter"

#: Where the checksum stands in the metadata.
CHECKSUM = "checksum"

#: The longest file. Nearly all of a profile is ``calibration.selectivity`` (4 bytes a sample and
#: head), the two ablation tensors (4 bytes a kind, task, ratio and head) and the samples' names:
#: 30 kB for the shipped one, 400 kB for 500 samples of 64 heads, half of this for 2,000 samples of
#: 128 heads and 20 tasks at 10 ratios.
MAX_BYTES = 4 * 2**20

#: How deep objects and lists of the metadata may stand in each other; a profile's go to six.
MAX_DEPTH = 16

_DTYPES = {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64}

#: Name -> dtype (safetensors' own word where no profile has it) and shape.
Layout = dict[str, tuple[object, tuple[int, ...]]]


def canonical_json(value: object) -> str:
    """Return JSON with sorted keys, no spaces, ASCII only.

    Raises:
        ProfileError: something that is not JSON, NaN and infinity included, or nested too deep.
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ProfileError(f"the metadata cannot be written as JSON: {error}") from error
    if _deeper(value, MAX_DEPTH):
        raise ProfileError(f"the metadata is nested deeper than {MAX_DEPTH} levels")
    return text


def to_bytes(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]) -> bytes:
    """Return the file for CPU tensors and metadata; equal content gives equal bytes."""
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    mark = _checksum(whole, canonical_json(metadata))
    return save(whole, {KEY: canonical_json({**metadata, CHECKSUM: mark})})


def layout_of(tensors: Mapping[str, torch.Tensor]) -> Layout:
    """Return dtypes and shapes of tensors in memory; of what is no tensor, its type."""
    return {
        name: (tensor.dtype, tuple(tensor.shape))
        if isinstance(tensor, torch.Tensor)
        else (type(tensor).__name__, ())
        for name, tensor in tensors.items()
    }


@dataclass(frozen=True)
class Bundle:
    """A file that was opened: what its header says, before any tensor is read."""

    metadata: dict[str, Any]
    """Without the checksum."""
    layout: Layout
    checksum: str | None
    """What the file says of itself; None for files of versions that wrote none."""
    content: bytes

    def tensors(self) -> dict[str, torch.Tensor]:
        """Read the tensors, and hold all of the content against the checksum, where there is one.

        Raises:
            ProfileError: damaged. The message does not name the file.
        """
        try:
            tensors = load(self.content)
        except (SafetensorError, RuntimeError, TypeError, ValueError) as error:
            raise _unreadable(error) from error
        found = _checksum(tensors, canonical_json(self.metadata))
        if self.checksum is not None and self.checksum != found:
            raise _altered()
        return tensors


def read(path: Path) -> Bundle:
    """Open the file at ``path`` and return what its header says.

    Raises:
        ProfileError: no such file, not a file, too large, not safetensors, damaged, or without
            headrouter's metadata. The message does not name the file.
    """
    try:
        content = _content(path)
    except OSError as error:
        raise ProfileError(f"cannot be read: {error.strerror or error}") from error
    try:
        header = _header(content)
        entries = header.pop("__metadata__", {})
        layout = {name: _described(entry) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _unreadable(error) from error
    if not isinstance(entries, dict) or not isinstance(entries.get(KEY, ""), str):
        raise _unreadable("its metadata are not texts")
    metadata = _parse(entries)
    checksum = metadata.get(CHECKSUM)
    # one spelling: else a flipped bit could hide in the case of a hexadecimal digit
    if checksum is not None and canonical_json(metadata) != entries[KEY]:
        raise _altered()
    metadata.pop(CHECKSUM, None)
    return Bundle(metadata, layout, checksum, content)


def _content(path: Path) -> bytes:
    if not os.path.exists(path):
        raise ProfileError("no such file; check the path, or make a profile: headrouter calibrate")
    if not path.is_file():
        raise ProfileError("not a file; give the path of a .safetensors file")
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        size = path.stat().st_size
        raise ProfileError(f"{size} bytes long, and a profile has at most {MAX_BYTES}")
    return content


def _header(content: bytes) -> dict[str, Any]:
    """Return the JSON that a safetensors file begins with: tensor names, and ``__metadata__``."""
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 + length:
        raise ValueError(f"its header of {length} bytes is not all there")
    header = _loads(content[8 : 8 + length].decode("utf-8"))
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    return header


def _described(entry: dict[str, Any]) -> tuple[object, tuple[int, ...]]:
    return _DTYPES.get(entry["dtype"], entry["dtype"]), tuple(entry["shape"])


def _parse(entries: Mapping[str, str]) -> dict[str, Any]:
    if KEY not in entries:
        raise ProfileError(f"no headrouter profile: its metadata has no key {KEY!r}")
    try:
        metadata = _loads(entries[KEY])
    except (ValueError, RecursionError) as error:
        raise ProfileError(f"metadata {KEY!r} is not JSON: {error}") from error
    if not isinstance(metadata, dict):
        raise ProfileError(f"metadata {KEY!r} is not a JSON object")
    canonical_json(metadata)  # refuses NaN and infinity, which json.loads lets through
    return metadata


def _loads(text: str) -> Any:
    return json.loads(text, object_pairs_hook=unique_keys)


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a JSON object of pairs, as ``object_pairs_hook`` of :func:`json.loads`.

    Raises:
        ValueError: a key stands twice, so that it could not be told which one holds.
    """
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:40]!r} stands twice in one object")
        found[key] = value
    return found


def _checksum(tensors: Mapping[str, torch.Tensor], text: str) -> str:
    """Return the sha256 of the metadata's text and of each tensor: name, dtype, shape, values."""
    digest = hashlib.sha256(text.encode("ascii"))
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        values = tensor.numpy()
        digest.update(values.astype(values.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def _deeper(value: object, levels: int) -> bool:
    """Whether objects and lists stand in each other more than ``levels`` deep."""
    inner = value.values() if isinstance(value, Mapping) else value
    if isinstance(value, str) or not hasattr(inner, "__iter__"):
        return False
    return levels == 0 or any(_deeper(entry, levels - 1) for entry in inner)


def _unreadable(cause: object) -> ProfileError:
    return ProfileError(f"not a readable safetensors file ({cause}); copy or download it again")


def _altered() -> ProfileError:
    return ProfileError(
        "damaged or edited: its content does not match its checksum; copy or download it again"
    )
