"""Which ids of a prompt stand for audio and which mark it, as ``headrouter_core`` knows them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from headrouter_core import families
from headrouter_core.families.discovery import find_audio_ids, find_marker_ids


def audio_and_markers(family: str, config: Any, outer: Any) -> tuple[int, tuple[int, ...]]:
    """Return the placeholder's id, and those of the markers around audio.

    Args:
        family: name of a family of ``headrouter_core``.
        config: of the part that hears, a thinker's where there is one.
        outer: of the whole model; vLLM's reading of some checkpoints leaves markers there.

    Raises:
        UnsupportedModelError: the configuration names no placeholder.
    """
    known = next(one for one in families.FAMILIES if one.name == family)
    inner, whole = (cast(Any, SimpleNamespace(config=one)) for one in (config, outer))
    markers = (*find_marker_ids(inner), *known.markers(config), *find_marker_ids(whole))
    return find_audio_ids(inner)[0], tuple(dict.fromkeys(markers))
