"""The table of families and features says what the suite measured, of all that it runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from docs.make_families import document
from headrouter_core import families

from ...checking.exactness import TOLERANCE, TOLERANCE_64
from ...checking.ledger import FEATURES, RESULTS, TABLES, Ledger
from ...checking.matrix import FAMILIES, PARTICULAR

NAMES = [family.name for family in families.FAMILIES]


def test_the_page_is_made_of_the_results() -> None:
    results = json.loads(RESULTS.read_text("utf-8"))
    assert RESULTS.with_name("families.md").read_text("utf-8") == document(results)


def test_every_family_and_feature_is_in_the_results() -> None:
    results = json.loads(RESULTS.read_text("utf-8"))
    assert results["tables"] == TABLES
    assert results["lacking"] == {}
    assert list(results["outcomes"]) == NAMES
    assert sorted(NAMES) == sorted(FAMILIES)
    for family, found in results["outcomes"].items():
        assert tuple(found) == FEATURES, family
        for feature, outcome in found.items():
            assert is_fine(feature, outcome), (family, feature, outcome)


def is_fine(feature: str, outcome: float | str) -> bool:
    if isinstance(outcome, float):
        return outcome < (TOLERANCE_64 if feature == "float64" else TOLERANCE)
    if feature in ("ratio 0", "order"):
        return outcome == "same bits"
    if feature == "merging":
        return outcome.startswith("refused: this model has 2 states a token")
    if feature == "flash":
        return outcome.startswith("refused: flash attention measures its sliding window")
    return feature in ("shared tail", *PARTICULAR) and outcome.startswith(("none", "refused: "))


def test_the_page_shows_errors_and_refusals() -> None:
    results = {
        "versions": {"torch": "2.0", "transformers": "5.0"},
        "tables": {"First": {"a": "feature A"}, "Second": {"b": "feature B"}},
        "outcomes": {
            "one": {"a": 1.5e-7, "b": "refused: it cannot"},
            "two": {"a": 2e-6, "b": "none"},
        },
    }
    page = document(results)
    assert "torch 2.0 and transformers\n5.0" in page
    assert "| family | feature A |\n| --- | --- |\n| one | 1.5e-07 |\n| two | 2.0e-06 |" in page
    assert "| one | refused (1) |\n| two | – |" in page
    assert "1. it cannot" in page


def test_nothing_is_recorded_of_a_part_of_the_suite(tmp_path: Path) -> None:
    ledger, path = Ledger(), tmp_path / "exactness.json"
    for feature in FEATURES:
        ledger.note("one", feature, 1e-7)
    ledger.note("one", "sdpa", 3.14159e-7)
    ledger.note("one", ["sdpa", "eager"], 2e-7)
    with pytest.raises(ValueError, match=r"not run, or failed.*'two', 'one'"):
        ledger.save(path, {"one": None, "two": None}, {})
    assert not path.exists()
    ledger.save(path, {"one": None, "two": "there is no two"}, {"torch": "2.0"})
    document = json.loads(path.read_text("utf-8"))
    assert document["lacking"] == {"two": "there is no two"}
    outcomes = document["outcomes"]
    assert list(outcomes) == ["one"]
    assert outcomes["one"]["sdpa"] == 3.1e-7
    assert outcomes["one"]["eager"] == 2e-7  # what another feature came to does not stick to it
    with pytest.raises(KeyError, match="unheard"):
        ledger.note("one", "unheard of", 0.0)


def test_faults_name_tests_that_exist() -> None:
    named = set(re.findall(r"`(test_\w+)`", (RESULTS.parent / "faults.md").read_text("utf-8")))
    here = "\n".join(
        path.read_text("utf-8") for path in Path(__file__).parents[2].rglob("test_*.py")
    )
    assert len(named) > 30
    assert named <= set(re.findall(r"^def (test_\w+)", here, re.MULTILINE))
