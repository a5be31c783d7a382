"""Whether the installed transformers has a family's model, read from its files.

Importing transformers to ask it takes seconds. Every modelling file of it ends with a list of what
it exports, and that list is what transformers itself goes by (a test compares the two).
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from collections.abc import Iterable
from pathlib import Path

_EXPORTS = re.compile(r"^__all__ = \[(.*?)\]", re.MULTILINE | re.DOTALL)


def lacking(folder: str, classes: Iterable[str]) -> str | None:
    """Return why the installed transformers has not all of these classes; ``None`` if it has.

    Args:
        folder: where they are in transformers, below its ``models``: the family's name.
        classes: names of model classes.
    """
    missing = sorted(set(classes) - _exported(folder))
    if not missing:
        return None
    return f"transformers {importlib.metadata.version('transformers')} has no {', '.join(missing)}"


def _exported(folder: str) -> set[str]:
    """Return the names that the modelling files of one folder export."""
    spec = importlib.util.find_spec("transformers")  # finds the package and does not import it
    assert spec is not None  # headrouter requires it
    assert spec.origin is not None
    names: set[str] = set()
    for path in (Path(spec.origin).parent / "models" / folder).glob("modeling_*.py"):
        for listed in _EXPORTS.findall(path.read_text("utf-8")):
            names.update(re.findall(r"\w+", listed))
    return names
