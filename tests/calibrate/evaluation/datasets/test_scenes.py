"""The shipped scenes as items."""

import pytest

from calibrate.evaluation.datasets import scenes as reader
from calibrate.evaluation.datasets.scenes import VOCABULARIES, scenes
from calibrate.evaluation.scoring.answers import parse
from calibrate.evaluation.scoring.items import LABEL, TRANSCRIPT
from headrouter_core.errors import UsageError
from tiny_omni.clips import Bank
from tiny_omni.questions import TASKS, pose


def test_scenes_are_those_of_tiny_omni():
    dataset = scenes(10.0, 2)
    assert dataset.tasks == tuple(TASKS)
    assert dataset.report()["complete"]
    assert len(dataset.items) == 2 * len(TASKS)
    item = dataset.items[3]
    scene, question, cluster = pose(Bank.of("test"), "keyword", 1, "test/keyword/1", 10.0)
    assert (item.id, item.task, item.cluster) == ("10s/test/keyword/1", "keyword", cluster)
    assert (item.prompt, item.reference) == (question.prompt, question.answer)
    (samples,) = item.read()
    assert (samples == scene.samples).all()
    assert len(samples) == 160_000


def test_every_task_is_scored_and_every_reference_parses():
    for item in scenes(30.0, 2).items:
        assert item.kind == (TRANSCRIPT if item.task == "digits" else LABEL)
        assert parse(item, item.reference) == item.reference
        assert parse(item, "something else") != item.reference
    assert set(VOCABULARIES) == set(TASKS) - {"digits"}


def test_more_scenes_begin_with_the_same():
    few, more = scenes(10.0, 1, "calibration"), scenes(10.0, 2, "calibration")
    assert set(few.items) < set(more.items)


def test_installed_without_the_clips(monkeypatch):
    def missing(split):
        raise FileNotFoundError("346 clips of the test split are not here; use a checkout")

    monkeypatch.setattr(reader.Bank, "of", missing)
    with pytest.raises(UsageError, match="use a checkout"):
        scenes(10.0, 1)
