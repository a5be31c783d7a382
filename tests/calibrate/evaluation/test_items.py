"""Items hold together, and a set says what it lacks."""

import numpy as np
import pytest

from calibrate.evaluation.scoring.items import CHOICE, LABEL, Dataset, Fault, Item, letters
from calibrate.terminal.errors import AudioError


def item(name="x", task="t", **changes):
    given = {
        "id": name,
        "task": task,
        "group": "semantic",
        "prompt": "?",
        "kind": LABEL,
        "reference": "yes",
        "cluster": "c",
        "audios": (lambda **_: np.zeros(3, np.float32), lambda **_: np.ones(2, np.float32)),
        "choices": ("yes", "no"),
        "labels": ("yes", "no"),
    }
    return Item(**{**given, **changes})


def test_item_reads_all_its_recordings():
    assert [len(samples) for samples in item().read()] == [3, 2]

    def damaged(**_):
        raise AudioError("damaged")

    with pytest.raises(AudioError, match="damaged"):
        item(audios=(lambda **_: np.zeros(1), damaged)).read()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "quiz"}, "kind is 'quiz'"),
        ({"audios": ()}, "at least one recording"),
        ({"kind": CHOICE, "labels": ("A",)}, "as many labels"),
        ({"reference": "maybe"}, "none of its labels"),
    ],
)
def test_items_that_do_not_hold_together(changes, message):
    with pytest.raises(ValueError, match=message):
        item(**changes)


def test_two_items_of_one_name():
    with pytest.raises(ValueError, match="two items are called 'x'"):
        Dataset("d", (item(), item("y"), item()))


def test_report():
    dataset = Dataset(
        "d",
        (item("a"), item("b"), item("c", "u")),
        faults=(Fault("e", "t", "gone"),),
        excluded=(Fault("f", "u", "by rule"),),
        expected={"t": 3, "u": 1, "v": 7},
    )
    report = dataset.report([Fault("b", "t", "undecodable")])
    assert report == {
        "name": "d",
        "complete": False,
        "tasks": {
            "t": {"items": 1, "faults": 2, "excluded": 0, "expected": 3},
            "u": {"items": 1, "faults": 0, "excluded": 1, "expected": 1},
            "v": {"items": 0, "faults": 0, "excluded": 0, "expected": 7},
        },
        "faults": [
            {"id": "e", "task": "t", "reason": "gone"},
            {"id": "b", "task": "t", "reason": "undecodable"},
        ],
        "excluded": [{"id": "f", "task": "u", "reason": "by rule"}],
    }


@pytest.mark.parametrize(
    ("expected", "complete"), [({}, True), ({"t": 1}, True), ({"t": 2}, True), ({"t": 3}, False)]
)
def test_complete_before_or_after_exclusions(expected, complete):
    dataset = Dataset("d", (item(),), excluded=(Fault("f", "t", "rule"),), expected=expected)
    assert dataset.report()["complete"] is complete


def test_letters():
    assert letters(["x", "y", "z"]) == ("A", "B", "C")
    with pytest.raises(ValueError, match="27 choices"):
        letters(["x"] * 27)
