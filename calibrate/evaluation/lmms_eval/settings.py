"""What ``--model_args`` says, checked before anything is loaded."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch

from headrouter_core.errors import UsageError
from headrouter_core.scoring import exact_ratio
from headrouter_core.selectors import get_selector

_TEXTS = ("pretrained", "method", "profile", "revision", "device", "dtype", "system_prompt")
_FLAGS = ("force", "trust_remote_code")
#: Whole numbers -> the least that each may be.
_NUMBERS = {"layer": 1, "batch_size": 1, "max_new_tokens": 1, "seed": 0}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The model's arguments; those without a comment are those of ``headrouter prune``."""

    pretrained: str = "Qwen/Qwen2.5-Omni-7B"
    """Alias, Hub id or folder; the default is that of lmms-eval's own Qwen2.5-Omni."""
    ratio: float = 0.6
    method: str = "headrouter"
    profile: str | None = None
    layer: int | None = None
    revision: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    batch_size: int = 1
    max_new_tokens: int = 4096
    """For tasks that name no limit; the default is again lmms-eval's."""
    system_prompt: str | None = None
    """Replaces the chat template's own."""
    seed: int = 0
    force: bool = False
    trust_remote_code: bool = False


def read_settings(given: Mapping[str, Any]) -> Settings:
    """Check arguments as lmms-eval parses them: digits are numbers, also of a revision.

    Raises:
        UsageError: an unknown name, or a value out of range or of another kind.
    """
    known = [field.name for field in fields(Settings)]
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise UsageError(
                f"there is no model argument {name!r}.{hint} Known are {', '.join(known)}"
            )
    named = {name: value for name, value in given.items() if value is not None}
    for name in _TEXTS:
        if not isinstance(named.get(name, ""), str):
            raise UsageError(f"{name}={named[name]!r} was read as a number; it has to be text")
    for name in _FLAGS:
        if not isinstance(named.get(name, False), bool):
            raise UsageError(f"{name}={named[name]!r} is neither true nor false")
    for name in _NUMBERS.keys() & named.keys():
        named[name] = _number(name, named[name])
    named["ratio"] = float(exact_ratio(named.get("ratio", Settings.ratio)))
    get_selector(named.get("method", Settings.method))
    return Settings(**named)


def own_device(device: str) -> str:
    """Return the device of this process: with ``auto``, each of several on a machine has a GPU."""
    rank = os.environ.get("LOCAL_RANK")
    if device == "auto" and rank is not None and torch.cuda.is_available():
        return f"cuda:{rank}"
    return device


def _number(name: str, value: Any) -> int:
    # --batch_size comes as text, arguments of --model_args as numbers
    least, text = _NUMBERS[name], str(value)
    if isinstance(value, bool) or not text.isdecimal() or int(text) < least:
        raise UsageError(f"{name}={value} is not supported; give a whole number from {least} on")
    return int(text)
