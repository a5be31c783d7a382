"""One set that was asked: what every table and figure is made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from calibrate.evaluation.comparing.results import Results
from calibrate.evaluation.folder import Folder
from calibrate.reproduction.published import Layout


@dataclass(frozen=True)
class Part:
    """One set, asked."""

    layout: Layout
    folder: Folder
    found: Results
    timing: dict[str, Any]
    examples: dict[str, Any]
