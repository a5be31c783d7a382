"""Which ids of a prompt stand for audio and which mark it, as ``headrouter_core`` knows them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from headrouter_core import families
from headrouter_core.families.discovery import find_audio_ids, find_marker_ids

_BEGINS = ("audio_start_token_id", "audio_bos_token_id", "boa_token_id")
_ENDS = ("audio_end_token_id", "audio_eos_token_id", "eoa_token_id", "eoa_token_index")


def _family(name: str) -> Any:
    return next(one for one in families.FAMILIES if one.name == name)


def audio_and_markers(family: str, config: Any, outer: Any) -> tuple[int, tuple[int, ...]]:
    """Return the placeholder's id, and those of the markers around audio.

    Args:
        family: name of a family of ``headrouter_core``.
        config: of the part that hears, a thinker's where there is one.
        outer: of the whole model; vLLM's reading of some checkpoints leaves markers there.

    Raises:
        UnsupportedModelError: the configuration names no placeholder.
    """
    known = _family(family)
    inner, whole = (cast(Any, SimpleNamespace(config=one)) for one in (config, outer))
    markers = (*find_marker_ids(inner), *known.markers(config), *find_marker_ids(whole))
    return find_audio_ids(inner)[0], tuple(dict.fromkeys(markers))


def unclear_markers(family: str, config: Any, outer: Any) -> str | None:
    """Return why markers around audio would count as text of the question, or ``None``.

    Arguments are those of :func:`audio_and_markers`.
    """
    ids = {}
    for what, names in (("begin", _BEGINS), ("end", _ENDS)):
        # the whole model's first: vLLM's own classes have defaults that are not the checkpoint's
        named = [getattr(one, name, None) for one in (outer, config) for name in names]
        ids[what] = next((token for token in named if token is not None), None)
    if ids["begin"] is None:
        return "the configuration names no begin of audio (audio_start_token_id)"
    if ids["end"] is None:
        made = _family(family).markers(config)
        ids["end"] = made[-1] if made else None
    if ids["end"] is None:
        return "the configuration names no end of audio (audio_end_token_id)"
    found = {"placeholder": find_audio_ids(cast(Any, SimpleNamespace(config=config)))[0], **ids}
    if len(set(found.values())) < len(found):
        told = ", ".join(f"{what} {token}" for what, token in found.items())
        return f"the configuration names the same id twice: {told}"
    return None
