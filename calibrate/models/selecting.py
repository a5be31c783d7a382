"""A selector and what its kind takes: a profile, found by one rule, a seed, the loudness."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from calibrate.models import named
from calibrate.models.frontends.base import FrontEnd
from calibrate.models.named import Loaded
from calibrate.sound.loudness import token_loudness
from calibrate.terminal.console import say
from headrouter_core import families
from headrouter_core.errors import ProfileError, UsageError
from headrouter_core.profile.profile import Profile
from headrouter_core.profile.shipped import load_profile, shipped_profiles
from headrouter_core.selectors import Selector


def find_profile(model: str, wanted: str | None) -> Profile:
    """Return the profile asked for, else the one lying here, else the one shipped.

    Args:
        model: alias, Hub id or folder, as ``--model`` takes it.
        wanted: shipped name, file or Hub repository, as ``--profile`` takes it.

    Raises:
        ProfileError: there is none, or it cannot be read.
    """
    if wanted is not None:
        say(f"profile {wanted}")
        return load_profile(wanted)
    name = named.source(model).name
    here, shipped = Path(f"{name}.safetensors"), shipped_profiles().get(name)
    if os.path.exists(here):  # not Path.exists(), which raises for names that no file can have
        say(f"profile ./{here}")
        return Profile.load(here)
    if shipped is not None:
        say(f"profile {name}, shipped with headrouter")
        return Profile.load(shipped)
    raise ProfileError(
        f"there is no profile for {name}: neither ./{here} nor a shipped one; make it with:"
        f" headrouter calibrate --model {model}"
    )


def check_fit(loaded: Loaded, layer: int, profile: Profile | None, *, force: bool) -> None:
    """Refuse a layer or profile before any time is spent.

    What the profile only doubts comes back as a warning when pruning starts.

    Raises:
        UsageError: the model has no such pruning layer.
        ProfileMismatchError: the profile is another model's or layer's, and ``force`` is not given.
    """
    depth = len(families.locate(loaded.model).layers)
    if layer >= depth:
        raise UsageError(
            f"layer {layer} is outside [1, {depth - 1}]: {loaded.name} has {depth} layers"
        )
    if profile is not None:
        profile.check_model(families.model_info(loaded.model, layer), force=force)


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
