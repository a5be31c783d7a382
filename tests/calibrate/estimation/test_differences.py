"""What a difference rests on: clusters, items, tasks, and exact answers."""

import numpy as np
import pytest

from calibrate.estimation.report.differences import carried_by, difference, mcnemar, rounded
from calibrate.estimation.report.routes import auc

NONE = np.zeros(12, dtype=bool)


def described(values, clusters, tasks=None, right=None):
    values = np.array(values, dtype=float)
    right = right or (np.zeros(len(values), bool), np.zeros(len(values), bool))
    return difference(values, clusters, tasks or ["t"] * len(values), 0, right, values / 10)


def test_no_verdict_where_few_speakers_carry_it():
    few = described([-1.0] * 12, [f"speaker {index % 5}" for index in range(12)])
    many = described([-1.0] * 12, [f"speaker {index}" for index in range(12)])
    assert few["low"] <= few["high"] < 0
    assert (few["verdict"], many["verdict"]) == ("withheld", "better")
    assert many["carried_by"] == 10  # of 12 alike, 80 %
    # many speakers are there, but two of them make the difference
    loud = described([-9.0, -9.0, *[-0.1] * 10], [str(index) for index in range(12)])
    assert (loud["verdict"], loud["carried_by"]) == ("withheld", 2)


def test_the_bounded_loss_stands_beside():
    found = described([-1.0, -3.0] * 6, [str(index) for index in range(12)])
    assert found["divergence"]["difference"] == -0.2
    assert found["divergence"]["low"] == pytest.approx(found["low"] / 10, abs=1e-6)


def test_a_tie_stays_a_tie():
    found = described([-1.0, 1.0] * 6, [str(index) for index in range(12)])
    assert found["verdict"] == "tie"
    same = described([0.0] * 12, ["one"] * 12)
    assert (same["verdict"], same["difference"], same["carried_by"]) == ("tie", 0.0, 0)
    assert same["items"]["task"] is None


def test_items_and_the_task_that_decides_are_named():
    found = described(
        [-4.0, -4.0, 0.0, 1.0, 0.5, 0.5], list("abcdef"), ["digits"] * 3 + ["event"] * 3
    )
    assert found["items"] == {
        "better": 2,
        "worse": 3,
        "largest": 1.0,
        "task": "digits",
        "task_share": 0.8,
    }


def test_within_a_cluster_differences_cancel():
    assert carried_by(np.array([1.0, -1.0, 0.5]), ["a", "a", "b"]) == 1


@pytest.mark.parametrize(
    ("won", "lost", "p"), [(0, 0, 1.0), (5, 5, 1.0), (6, 0, 0.03125), (1, 8, 0.039062)]
)
def test_mcnemar_is_exact(won, lost, p):
    ours = np.array([True] * won + [False] * lost + [True, False])
    theirs = np.array([False] * won + [True] * lost + [True, False])
    assert mcnemar(ours, theirs) == {"won": won, "lost": lost, "p": p}


def test_no_negative_zero_is_stored():
    assert str(rounded(-1e-9)) == "0.0"


def test_auc_counts_ties_half():
    positive = np.array([True, True, False, False])
    assert auc(np.array([3.0, 4.0, 1.0, 2.0]), positive) == 1.0
    assert auc(np.array([1.0, 2.0, 3.0, 4.0]), positive) == 0.0
    assert auc(np.zeros(4), positive) == 0.5
    assert auc(np.array([1.0, 3.0, 1.0, 2.0]), positive) == 0.625
    assert auc(np.zeros(2), np.array([True, True])) == 0.5
