"""Which ids of a prompt stand for audio and which mark it, as ``headrouter_core`` knows them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from headrouter_core import families
from headrouter_core.families.discovery import find_audio_ids, find_marker_ids


def audio_and_markers(family: str, config: Any) -> tuple[int, tuple[int, ...]]:
    """Return the placeholder's id, and those of the markers around audio.

    Args:
        family: name of a family of ``headrouter_core``.
        config: of the part that hears, a thinker's where there is one.

    Raises:
        UnsupportedModelError: the configuration names no placeholder.
    """
    known = next(one for one in families.FAMILIES if one.name == family)
    root: Any = SimpleNamespace(config=config)
    return find_audio_ids(root)[0], find_marker_ids(root) + known.markers(config)
