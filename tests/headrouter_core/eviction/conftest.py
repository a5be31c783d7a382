from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
import torch
import transformers

#: Notes what a family's feature came to: the worst error stays.
Note = Callable[[str, str, float], None]


@pytest.fixture(scope="session")
def note(request: pytest.FixtureRequest) -> Iterator[Note]:
    """Collect worst relative errors by family and feature, and record them if asked for."""
    worst: dict[str, dict[str, float]] = {}

    def write_down(family: str, feature: str, error: float) -> None:
        features = worst.setdefault(family, {})
        features[feature] = max(error, features.get(feature, 0.0))

    yield write_down
    if (path := request.config.getoption("record_eviction")) is not None:
        if request.session.testsfailed:
            pytest.fail("tests failed, so nothing is recorded")
        rounded = {
            family: {feature: float(f"{error:.1e}") for feature, error in sorted(features.items())}
            for family, features in sorted(worst.items())
        }
        versions = {"torch": torch.__version__, "transformers": transformers.__version__}
        document = {"versions": versions, "worst": rounded}
        path.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
