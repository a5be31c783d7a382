"""The methods that choose what KV heads keep: one file each, registered here."""

from __future__ import annotations

from headrouter_core.basics.arguments import shown
from headrouter_core.errors import UsageError
from headrouter_core.eviction.methods.adakv import AdaKV
from headrouter_core.eviction.methods.audiokv import AudioKV
from headrouter_core.eviction.methods.base import Method, Need, Registered, Scores, View
from headrouter_core.eviction.methods.h2o import H2O
from headrouter_core.eviction.methods.pyramidkv import PyramidKV
from headrouter_core.eviction.methods.random import RandomKV
from headrouter_core.eviction.methods.snapkv import SnapKV
from headrouter_core.eviction.methods.streaming import StreamingLLM

__all__ = [
    "H2O",
    "METHODS",
    "AdaKV",
    "AudioKV",
    "Method",
    "Need",
    "PyramidKV",
    "RandomKV",
    "Registered",
    "Scores",
    "SnapKV",
    "StreamingLLM",
    "View",
    "get_method",
]

#: What ``--cache`` knows.
METHODS: dict[str, type[Registered]] = {
    kind.name: kind for kind in (AudioKV, SnapKV, AdaKV, PyramidKV, H2O, StreamingLLM, RandomKV)
}


def get_method(name: str) -> type[Registered]:
    """Return the eviction method called ``name``.

    Raises:
        UsageError: listing the known names.
    """
    if not isinstance(name, str) or name not in METHODS:
        known = ", ".join(sorted(METHODS))
        raise UsageError(f"there is no eviction method {shown(name)}; known are {known}")
    return METHODS[name]
