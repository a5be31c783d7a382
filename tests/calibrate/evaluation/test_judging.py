"""What an outside judge is given."""

import json

from calibrate.evaluation.scoring.items import JUDGED, LABEL, Item
from calibrate.evaluation.showing.judging import write_for_judge


def item(name, kind, **changes):
    return Item(name, "open", None, "Why?", kind, "because", "c", (lambda: None,), **changes)


def test_open_items_only_with_all_that_the_judge_needs(tmp_path):
    path = tmp_path / "open.jsonl"
    path.write_text("old")
    scored = item("a", LABEL, choices=("because", "no"), labels=("because", "no"))
    judged = item("b", JUDGED, judge={"question": "Why?", "kwargs": {"N": 2}})
    assert write_for_judge(path, [(scored, "no"), (judged, "weiß\nnicht")]) == 1
    (line,) = path.read_text("utf-8").splitlines()
    assert json.loads(line) == {
        "id": "b",
        "task": "open",
        "question": "Why?",
        "kwargs": {"N": 2},
        "answer": "because",
        "model_output": "weiß\nnicht",
    }
    assert [file.name for file in tmp_path.iterdir()] == ["open.jsonl"]
