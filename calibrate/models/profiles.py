"""The profile that belongs to a model: found by one rule, and held against the model early."""

from __future__ import annotations

import os
from pathlib import Path

from calibrate.models import named
from calibrate.models.named import Loaded
from calibrate.terminal.console import say
from headrouter_core import families
from headrouter_core.errors import ProfileError, UsageError
from headrouter_core.profile.profile import Profile
from headrouter_core.profile.shipped import load_profile, shipped_profiles


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
