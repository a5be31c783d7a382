"""Building a selector from what its kind takes: a profile, a seed, the loudness of the audio."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from calibrate.models.frontends.base import FrontEnd
from calibrate.sound.loudness import token_loudness
from headrouter_core.profile.profile import Profile
from headrouter_core.selectors import Selector


def takes_profile(kind: type) -> bool:
    """Whether this kind of selector is calibrated."""
    return "profile" in inspect.signature(kind).parameters


def build_selector(
    kind: Callable[..., Selector],
    *,
    profile: Profile | None,
    seed: int,
    audios: Sequence[np.ndarray],
    frontend: FrontEnd,
    **options: Any,
) -> Selector:
    """Build a selector for one conversation.

    Args:
        kind: its class.
        profile: for kinds that take one.
        seed: of kinds that draw at random.
        audios: the recordings of the conversation, float32 [n] each.
        frontend: the model's.
        options: further arguments of the kind.
    """
    offers: dict[str, Callable[[], Any]] = {
        "profile": lambda: profile,
        "seed": lambda: seed,
        "loudness": lambda: [_loudness(audios, frontend)],
    }
    takes = inspect.signature(kind).parameters
    given = {name: offer() for name, offer in offers.items() if name in takes}
    return kind(**given, **options)


def _loudness(audios: Sequence[np.ndarray], frontend: FrontEnd) -> torch.Tensor:
    """Return the loudness [N_a] of the audio tokens of all recordings, one after the other."""
    length = frontend.seconds_per_token * frontend.sample_rate
    parts = []
    for audio in audios:
        tokens = frontend.audio_tokens(len(audio))
        if (tokens - 1) * length >= len(audio):  # some families pad audio: with silence
            audio = np.pad(audio, (0, math.ceil(tokens * length) - len(audio)))
        parts.append(token_loudness(audio, tokens, length))
    return torch.cat(parts)
