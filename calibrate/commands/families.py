"""``headrouter families``: the options."""

from __future__ import annotations

from dataclasses import dataclass

from calibrate.commands.options import AsJson


@dataclass(frozen=True, kw_only=True)
class Families:
    """What ``headrouter families`` is asked."""

    as_json: AsJson = False
