"""What the exactness suite shows of each family, and where that is written down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

RESULTS = Path(__file__).parents[3] / "docs" / "exactness.json"

#: Table -> feature -> what it is.
TABLES: dict[str, dict[str, str]] = {
    "Prompts": {
        "one": "batch of one",
        "several": "several audios, text between",
        "left": "three rows, padded left",
        "right": "three rows, padded right",
        "text row": "a row without audio among them",
        "eager": "eager",
        "sdpa": "sdpa",
        "flash": "flash, kernels replaced",
    },
    "Ratios and layers": {
        "ratio 0": "r = 0",
        "ratio 0.3": "r = 0.3",
        "ratio 0.6": "r = 0.6",
        "ratio 0.9": "r = 0.9",
        "layer 1": "M = 1",
        "layer 3": "M = 3",
        "layer 5": "M = 5",
        "shared tail": "M among layers that share keys",
        "order": "order and positions",
        "float64": "r = 0.6 in float64",
    },
    "Particular layers": {
        "windows": "sliding windows, measured in original positions",
        "shared keys": "keys of earlier layers",
        "layer inputs": "inputs of their own by token",
    },
    "Decoding": {
        "greedy": "greedy",
        "second turn": "second turn",
        "sampling": "sampling",
        "beams": "beam search",
        "lookup": "prompt lookup",
        "no cache": "no cache",
        "dynamic": "own DynamicCache",
        "static": "StaticCache",
        "merging": "merging selector",
    },
}
FEATURES = tuple(feature for table in TABLES.values() for feature in table)

#: What a feature came to: the worst relative error, or a word on why there is none.
Outcome = float | str


class Ledger:
    """The outcomes of one test run, by family and feature."""

    def __init__(self) -> None:
        self._outcomes: dict[tuple[str, str], Outcome] = {}

    def note(self, family: str, features: str | list[str], outcome: Outcome) -> None:
        """Write down an outcome; of several errors the worst stays."""
        for feature in [features] if isinstance(features, str) else features:
            if feature not in FEATURES:
                raise KeyError(feature)
            before = self._outcomes.get((family, feature), outcome)
            both = isinstance(outcome, float) and isinstance(before, float)
            self._outcomes[family, feature] = max(outcome, before) if both else outcome

    def save(
        self, path: Path, families: Mapping[str, str | None], versions: dict[str, str]
    ) -> None:
        """Write all outcomes as JSON.

        Args:
            path: the file.
            families: name -> why the installed version has no such family, if so.
            versions: of what it was measured with.

        Raises:
            ValueError: a feature of a family that is there was not run, or failed.
        """
        lacking = {family: reason for family, reason in families.items() if reason}
        there = [family for family in families if family not in lacking]
        wanted = [(family, feature) for family in there for feature in FEATURES]
        if missing := [pair for pair in wanted if pair not in self._outcomes]:
            raise ValueError(f"not run, or failed, so nothing is recorded: {missing}")
        outcomes = {
            family: {feature: _rounded(self._outcomes[family, feature]) for feature in FEATURES}
            for family in there
        }
        document = {
            "versions": versions,
            "lacking": lacking,
            "tables": TABLES,
            "outcomes": outcomes,
        }
        path.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def _rounded(outcome: Outcome) -> Outcome:
    """Return an error with two digits: more would differ from machine to machine."""
    return float(f"{outcome:.1e}") if isinstance(outcome, float) else outcome
