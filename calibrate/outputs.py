"""Files that commands write: refused early, written in one step."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from headrouter_core.errors import UsageError


def claim(path: Path | None, *, force: bool, inputs: Iterable[Path] = ()) -> None:
    """Raise where ``path`` could not be written later, before any time is spent.

    Args:
        path: the file to be; ``None`` asks for nothing.
        force: an existing file may be replaced, unless it is one of the inputs.
        inputs: what the command reads.

    Raises:
        UsageError: a folder, an existing file, an input, or a file in no folder.
    """
    if path is None:
        return
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is not a folder; create it first")
    if path.exists() and any(entry.exists() and path.samefile(entry) for entry in inputs):
        raise UsageError(f"{path} is an input of this command; choose another name")
    if path.exists() and not force:
        raise UsageError(f"{path} exists; choose another name, or replace it with --force")
