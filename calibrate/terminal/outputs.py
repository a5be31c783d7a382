"""Files that commands write: refused early, written in one step."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from headrouter_core.basics import writing
from headrouter_core.errors import UsageError


def claim(path: Path | None, *, force: bool, inputs: Iterable[Path] = ()) -> None:
    """Raise where ``path`` could not be written later, before any time is spent.

    Args:
        path: the file to be; ``None`` asks for nothing.
        force: an existing file may be replaced, unless it is one of the inputs.
        inputs: what the command reads.

    Raises:
        UsageError: a folder, an existing file, an input, or a place where no file can be made.
    """
    if path is None:
        return
    writing.check(path, force=True)
    if path.exists() and any(_exists(entry) and path.samefile(entry) for entry in inputs):
        raise UsageError(f"{path} is an input of this command; choose another name")
    if path.exists() and not force:
        raise UsageError(f"{path} exists; choose another name, or replace it with --force")


def claim_plot(path: Path | None, *, force: bool, inputs: Iterable[Path] = ()) -> None:
    """Do as :func:`claim`, and refuse kinds of pictures that are not drawn."""
    if path is not None and path.suffix.lower() != ".png":
        raise UsageError(f"{path}: plots are PNG files; give a name that ends in .png")
    claim(path, force=force, inputs=inputs)


def claim_page(path: Path | None, *, force: bool, inputs: Iterable[Path] = ()) -> None:
    """Do as :func:`claim`, and refuse names that no browser would open as a page."""
    if path is not None and path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{path}: pages are HTML files; give a name that ends in .html")
    claim(path, force=force, inputs=inputs)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no file can have
        return False
