"""What binds a profile to a model: facts about its probe layer and a fingerprint of its weights."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable
from dataclasses import dataclass

import torch

_COMPARABLE = (torch.bfloat16, torch.float16, torch.float32, torch.float64)

#: Fingerprints that are kept, and for how many probe layers at most.
_fingerprints: dict[bytes, str] = {}
_REMEMBERED = 64
_lock = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """The facts about a model that bind a profile to it; its family reads them from the weights."""

    id: str
    """Hub id, alias or folder name; for people, never compared."""
    revision: str | None = None
    """Commit of the weights, where known."""
    family: str
    layers: int
    """Decoder layers."""
    heads: int
    """Query heads of the probe layer."""
    kv_heads: int
    head_dim: int
    probe_layer: int
    """Layer that ``heads``, ``kv_heads``, ``head_dim`` and ``fingerprint`` were read from: M-1."""
    fingerprint: str | None
    """See :func:`fingerprint`; None where weights cannot be compared."""
    dtype: str
    """What the model computes in, say ``"bfloat16"``."""


def fingerprint(projections: Iterable[tuple[torch.Tensor, torch.Tensor | None]]) -> str | None:
    """Return the sha256 of a probe layer's query and key projections, or None.

    None where there is nothing to compare: weights that are quantised, sharded or offloaded.

    Weights are rounded to bfloat16, so the digest does not depend on the device, nor on whether a
    bfloat16 checkpoint was loaded in bfloat16 or float32. (float16 cannot hold the smallest
    bfloat16 values: such a copy of a bfloat16 checkpoint gets another digest.)

    Weights that were seen before are known by their :func:`_marks`, in a fraction of the time.

    Args:
        projections: (weight, bias) of q_proj, then of k_proj; bias None where there is none. A
            fused projection is split by the caller.
    """
    parts = [part for pair in projections for part in zip(("weight", "bias"), pair, strict=True)]
    if not all(tensor is None or comparable(tensor) for _, tensor in parts):
        return None
    marks = b"".join(b"none" if tensor is None else _marks(tensor) for _, tensor in parts)
    with _lock:
        found = _fingerprints.pop(marks, None)
        if found is None:
            found = _digest(parts)
        _fingerprints[marks] = found  # the last one is the one that was used last
        if len(_fingerprints) > _REMEMBERED:
            del _fingerprints[next(iter(_fingerprints))]
    return found


def _digest(parts: Iterable[tuple[str, torch.Tensor | None]]) -> str:
    digest = hashlib.sha256()
    for name, tensor in parts:
        if tensor is None:
            digest.update(f"{name} none\n".encode())
        else:
            digest.update(f"{name} {'x'.join(map(str, tensor.shape))}\n".encode())
            digest.update(_bfloat16_bytes(tensor))
    return digest.hexdigest()


def _marks(tensor: torch.Tensor) -> bytes:
    """Return what tells a tensor from others and from itself before a change, however it came.

    Torch's version counter misses what is written through ``.data``, NumPy or DLPack, so the values
    are read: the sums of their bits over each row and over each column, in words of 64 bits, where
    the tensor lives. One changed value changes two of them, and exchanged rows or columns do too.
    """
    flat = tensor.detach().contiguous().reshape(len(tensor), -1).view(torch.uint8)
    if lacking := -flat.shape[1] % 8:
        flat = torch.nn.functional.pad(flat, (0, lacking))
    words = flat.view(torch.int64)
    sums = torch.cat([words.sum(dim=0), words.sum(dim=1)]).cpu().numpy().tobytes()
    return f"{tensor.dtype} {tuple(tensor.shape)}\n".encode() + hashlib.sha256(sums).digest()


def comparable(tensor: object) -> bool:
    """Whether all values of a tensor are at hand, as floats.

    Subclasses (of torchao, bitsandbytes, DTensor) hold codes, or a part, and need not know how to
    slice or copy.
    """
    return (
        isinstance(tensor, torch.Tensor)
        and type(tensor) in (torch.Tensor, torch.nn.Parameter)
        and not tensor.is_meta
        and tensor.layout == torch.strided
        and tensor.dtype in _COMPARABLE
    )


def _bfloat16_bytes(tensor: torch.Tensor) -> bytes:
    """Return the values in row order as little-endian bfloat16."""
    rounded = tensor.detach().cpu().to(torch.bfloat16).contiguous()
    little_endian: bytes = rounded.view(torch.int16).numpy().astype("<i2").tobytes()
    return little_endian
