"""What ``headrouter evaluate`` is asked to do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from calibrate.evaluation.asking.methods import Method, parse_methods
from calibrate.evaluation.datasets.sources import SCENES
from calibrate.models.named import EMBEDDED
from calibrate.terminal.ratios import check_ratios
from headrouter_core.errors import UsageError


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
    shard: str | None = None
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

    def shard_of(self) -> tuple[int, int] | None:
        """Return which shard is asked for, and of how many.

        Raises:
            UsageError: not K/N with 1 <= K <= N.
        """
        if self.shard is None:
            return None
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", self.shard)
        number, count = map(int, found.groups()) if found else (0, 0)
        if not 1 <= number <= count:
            raise UsageError(f"--shard {self.shard} is not K/N with K from 1 to N, such as 1/2")
        return number, count
