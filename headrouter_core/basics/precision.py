"""Computing in float32 or better, whatever a model and its caller compute in."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager, nullcontext

import torch


def accumulating(*dtypes: torch.dtype) -> torch.dtype:
    """Return the dtype to accumulate values of some dtypes in: float32, or what is wider."""
    return functools.reduce(torch.promote_types, dtypes, torch.float32)


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Switch autocast off for what runs on a device: it would round float32 to half precision."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
