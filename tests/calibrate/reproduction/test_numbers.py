"""What figures show, as numbers."""

import numpy as np
import pytest

from calibrate.evaluation.showing.examples import _packed
from calibrate.reproduction import numbers
from calibrate.reproduction.numbers import contrasts, overlaps, separation
from headrouter_core.errors import HeadRouterError
from tests.calibrate.evaluation import made_up


@pytest.fixture
def found():
    return made_up.results(methods=("frame", numbers.SEMANTIC, numbers.ACOUSTIC))


def test_overlap_is_the_share_of_kept_tokens_that_the_oracle_keeps():
    def example(*kept):
        return {"audio_tokens": 10, "kept": [_packed(np.array(places), 10) for places in kept]}

    systems = [["vanilla", 0.0], ["energy", 0.6], ["frame", 0.6], ["energy", 0.9]]
    everything = range(10)
    items = [
        example(everything, [0, 1, 2, 3], [2, 3, 4, 5], [0]),
        example(everything, [0, 1, 2, 3], [0, 1, 2, 3], [0]),
    ]
    assert overlaps({"systems": systems, "items": items}, 0.6) == {"frame": 0.75}
    assert overlaps({"systems": systems[:1] + systems[2:], "items": []}, 0.6) == {}


def test_groups_that_lie_apart_are_told_apart(found):
    rng = np.random.default_rng(0)
    for item in found.items:
        item["selectivity"] = rng.normal(0, 1, 4).tolist()
    mixed = separation(found, 0)
    for item in found.items:
        item["selectivity"][0] += 9 * (item["group"] == "acoustic")
    apart = separation(found, 0)
    assert 0.2 < mixed.auc < 0.8
    assert mixed.silhouette < 0.1
    assert apart.auc > 0.95
    assert apart.silhouette > 0.15
    assert apart.places.shape == (len(found.items), 2)
    assert apart.acoustic.sum() == sum(item["group"] == "acoustic" for item in found.items)


def test_one_group_cannot_be_told_apart(found):
    for item in found.items:
        item["group"] = "acoustic"
    assert separation(found, 0) is None


def test_without_scikit_learn_it_says_what_to_install(found, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.linear_model", None)
    with pytest.raises(HeadRouterError, match=r"headrouter\[paper\]"):
        separation(found, 0)


def test_profiles_are_compared_within_each_group(found):
    rows = contrasts(found, 0)
    assert {(row.group, row.ratio) for row in rows} == {
        (group, ratio) for group in ("semantic", "acoustic") for ratio in found.ratios
    }
    for row in rows:
        assert row.difference.value == pytest.approx(row.values[0] - row.values[1], abs=1e-6)
        better = row.difference.verdict
        assert row.expected is (
            None if better == "tie" else (better == "better") == (row.group == "semantic")
        )


def test_profiles_are_not_compared_where_vanilla_gets_nothing_right(found):
    columns = found.raw["columns"]
    for item in found.items:
        for line in item["said"]:
            line[columns["said"].index("parsed")] = None
    assert contrasts(found, 0) == []


def test_every_method_of_the_command_is_known():
    from calibrate.evaluation.asking.methods import parse_methods
    from calibrate.reproduction.command import METHODS

    assert len(parse_methods(METHODS)) == len(METHODS.split(","))
