"""What ``--data`` names, and which items are taken when not all are."""

import pytest

from calibrate.evaluation.datasets import sources
from calibrate.evaluation.datasets.sources import in_turn, limited, read_data
from calibrate.evaluation.scoring.items import Dataset, Fault
from calibrate.terminal.errors import AudioError, MissingAudioError
from headrouter_core.errors import UsageError
from tests.calibrate.evaluation import made_up


def test_scenes_are_the_default_and_take_options(monkeypatch):
    asked = []
    monkeypatch.setattr(sources, "scenes", lambda *options: asked.append(options))
    read_data("scenes")
    read_data("scenes", seconds=30.0, per_task=2, split="calibration")
    assert asked == [(10.0, 20, "test"), (30.0, 2, "calibration")]


@pytest.mark.parametrize("name", ["audiomarathon", "mmau-pro"])
def test_benchmarks_are_read_from_the_folder_behind_the_colon(tmp_path, monkeypatch, name):
    asked = []
    empty = Dataset("d", ())
    reader = lambda path: asked.append(path) or empty  # noqa: E731
    monkeypatch.setitem(sources.BENCHMARKS, name, reader)
    assert read_data(f"{name}:{tmp_path}") == empty
    assert asked == [tmp_path]
    with pytest.raises(UsageError, match="is no folder"):
        read_data(f"{name}:{tmp_path / 'none'}")


def test_a_path_is_a_path_whatever_it_is_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    odd = tmp_path / "audiomarathon:mine"
    odd.mkdir()
    line = '"file_name": "a.wav", "task": "t", "group": "acoustic", "prompt": "p", "answer": "a"'
    (odd / "metadata.jsonl").write_text(f"{{{line}}}\n")
    assert read_data("audiomarathon:mine").faults[0].reason == "no such audio file: a.wav"


def test_faults_do_not_say_where_the_set_lies(tmp_path, monkeypatch):
    def missing(**_):
        raise MissingAudioError(f"{tmp_path}/audio/a.wav: no such audio file")

    item = made_up.items(("event",), 1)[0]
    object.__setattr__(item, "audios", (missing,))
    monkeypatch.setattr(sources, "manifest", lambda path: Dataset("d", (item,)))
    (read,) = read_data(str(tmp_path)).items
    with pytest.raises(AudioError, match=r"^audio/a.wav: no such") as caught:
        read.read()
    assert isinstance(caught.value, UsageError)  # what kind of error it is stays


def test_groups_and_tasks_take_turns():
    items = made_up.items(("digits", "event", "gender"), 3)
    order = ["digits/0", "event/0", "digits/1", "gender/0", "digits/2", "event/1", "gender/1"]
    assert [item.id for item in in_turn(items, 7)] == order
    assert len(in_turn(items, 99)) == 9
    assert in_turn(items, 0) == []


def test_a_limited_set_knows_that_it_is_incomplete():
    items = tuple(made_up.items(("digits", "event"), 3))
    whole = Dataset("d", items, faults=(Fault("x", "event", "gone"),))
    assert limited(whole, None) is whole
    assert limited(whole, 6) is whole
    part = limited(whole, 3)
    assert [item.id for item in part.items] == ["digits/0", "digits/1", "event/0"]
    report = part.report()
    assert report["complete"] is False
    assert report["tasks"]["event"]["expected"] == 4
    published = limited(Dataset("d", items, expected={"event": 254}), 2)
    assert published.report()["tasks"]["event"]["expected"] == 254
