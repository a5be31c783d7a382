"""Files that commands write: refused early, written in one step."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from headrouter_core.basics import writing
from headrouter_core.errors import UsageError


def claim(
    *paths: Path | None,
    force: bool,
    inputs: Iterable[Path] = (),
    plot: Path | None = None,
    page: Path | None = None,
) -> None:
    """Raise where a file could not be written later, before any time is spent.

    Args:
        paths: files to be; ``None`` asks for nothing.
        force: existing files may be replaced, unless they are among the inputs.
        inputs: what the command reads.
        plot: likewise a file to be, a picture.
        page: likewise, for a browser.

    Raises:
        UsageError: a folder, an existing file, an input, a place where no file can be made, or a
            plot or page whose name says that it is another kind of file.
    """
    if plot is not None and plot.suffix.lower() != ".png":
        raise UsageError(f"{plot}: plots are PNG files; give a name that ends in .png")
    if page is not None and page.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{page}: pages are HTML files; give a name that ends in .html")
    inputs = list(inputs)
    for path in (*paths, plot, page):
        if path is not None:
            _claim(path, force, inputs)


def _claim(path: Path, force: bool, inputs: Iterable[Path]) -> None:
    writing.check(path, force=True)
    if path.exists() and any(_exists(entry) and path.samefile(entry) for entry in inputs):
        raise UsageError(f"{path} is an input of this command; choose another name")
    if path.exists() and not force:
        raise UsageError(f"{path} exists; choose another name, or replace it with --force")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no file can have
        return False
