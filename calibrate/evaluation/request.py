"""What ``headrouter evaluate`` is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from calibrate.evaluation.methods import Method, parse_methods
from calibrate.evaluation.sources import SCENES
from calibrate.models import EMBEDDED
from calibrate.ratios import check_ratios


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of the command, as given."""

    output: Path
    model: str = EMBEDDED
    revision: str | None = None
    data: str = SCENES
    seconds: float | None = None
    per_task: int | None = None
    split: str | None = None
    methods: str = "all"
    ratios: tuple[float, ...] = (0.3, 0.6, 0.9)
    profile: str | None = None
    layer: int | None = None
    limit: int | None = None
    timed: int = 3
    examples: int = 4
    force: bool = False
    device: str = "auto"
    dtype: str = "auto"
    seed: int = 0
    as_json: bool = False
    trust_remote_code: bool = False

    def compared(self) -> tuple[Method, ...]:
        """Return the methods.

        Raises:
            UsageError: an unknown method, or ratios that cannot be compared.
        """
        check_ratios(self.ratios)
        return tuple(parse_methods(self.methods))
