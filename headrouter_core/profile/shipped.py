"""Where profiles come from: those shipped with the package, files, and the Hugging Face Hub."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path

from headrouter_core.basics.arguments import shown
from headrouter_core.errors import ProfileError, UsageError
from headrouter_core.profile.profile import Profile

#: File that a profile repository on the Hub holds.
HUB_FILE = "profile.safetensors"
#: A repository on the Hub, ``user/repo``.
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")

_PACKAGE = Path(__file__).parent.parent


def shipped_profiles() -> dict[str, Path]:
    """Return name -> file of the profiles shipped with this package, sorted by name."""
    # package data in a wheel; a checkout (editable install) has them at its root
    folders = (_PACKAGE / "_profiles", _PACKAGE.parent / "profiles")
    folder = next((folder for folder in folders if folder.is_dir()), folders[0])
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def load_profile(name_or_path: str | os.PathLike[str], revision: str | None = None) -> Profile:
    """Load a profile by shipped name, else by path, else from a Hub repository ``user/repo``.

    Args:
        name_or_path: ``"tiny-omni"``, ``"my-model.safetensors"`` or ``"user/repo"``.
        revision: branch, tag or commit of the Hub repository.

    Raises:
        ProfileError: no such profile, or one that cannot be fetched, read or trusted.
        UsageError: a name that is none, or a revision for something that is not a Hub repository.
    """
    if not isinstance(name_or_path, str | os.PathLike) or not isinstance(revision, str | None):
        odd = ("name", name_or_path) if isinstance(revision, str | None) else ("revision", revision)
        raise UsageError(f"the profile's {odd[0]} is {shown(odd[1])}; it must be text, or a path")
    name = os.fspath(name_or_path)
    path = shipped_profiles().get(name, Path(name))
    on_hub = not os.path.exists(path) and HUB_ID.fullmatch(name)
    if on_hub and path.suffix != ".safetensors":
        return Profile.load(_download(name, revision))
    if revision is not None:
        raise UsageError(f"{name} is no Hub repository: it has no revision {revision!r}")
    if not os.path.exists(path):
        raise ProfileError(_nothing_called(name))
    return Profile.load(path)


def _nothing_called(name: str) -> str:
    known = list(shipped_profiles())
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    shipped = f"shipped profiles are {', '.join(known)}" if known else "none are shipped"
    return (
        f"there is no profile or file {name!r}.{hint} Make one for your model with headrouter"
        f" calibrate; {shipped}"
    )


def _download(repository: str, revision: str | None) -> str:
    # imported here: most profiles are local, and the client is slow to import
    from huggingface_hub import hf_hub_download

    try:
        return hf_hub_download(repository, HUB_FILE, revision=revision)
    except Exception as error:  # the client's errors have no common base class
        cause = str(error).strip().partition("\n")[0]
        at = f" at {revision}" if revision else ""
        raise ProfileError(
            f"cannot fetch {HUB_FILE} from the Hub repository {repository}{at}"
            f" ({type(error).__name__}: {cause}); check its name and your connection, or give the"
            " path of a profile file"
        ) from error
