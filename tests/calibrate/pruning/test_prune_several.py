"""``headrouter prune`` on several recordings, and what an interruption leaves."""

import json

import pytest

from tests.calibrate.pruning import small_model

quick, run = small_model.quick, small_model.run


def test_several_recordings(run, recordings):
    paths = [recordings["wav"], recordings["ogg"]]
    done = run(*paths, "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert [result["file"] for result in found["results"]] == [str(path) for path in paths]
    assert found["failed"] == []


def test_the_others_are_done_when_one_fails(run, recordings, tmp_path):
    (tmp_path / "empty.wav").touch()
    paths = [recordings["wav"], tmp_path / "empty.wav", tmp_path / "gone.wav", recordings["mp3"]]
    done = run(*paths, "--json")
    assert done.exit_code == 4
    found = json.loads(done.stdout)
    assert len(found["results"]) == 2
    assert [failure["file"] for failure in found["failed"]] == [str(path) for path in paths[1:3]]
    assert "0 bytes" in found["failed"][0]["error"]
    assert "2 of 4 recordings failed" in done.stderr
    text = run(*paths)
    assert text.exit_code == 4
    assert text.stdout.count("unpruned  ") == 2


def test_when_all_fail(run, tmp_path):
    done = run(tmp_path / "a.wav", tmp_path / "b.wav")
    assert done.exit_code == 1
    assert "2 of 2 recordings failed" in done.stderr


def test_one_file_cannot_hold_two_recordings(run, recordings, tmp_path):
    done = run(recordings["wav"], recordings["mp3"], "--output", tmp_path / "o")
    assert done.exit_code == 2
    assert "can hold one recording" in done.stderr


@pytest.mark.parametrize("where", ["os.fsync", "calibrate.pruning.command.answer"])
def test_an_interruption_leaves_nothing_behind(run, recordings, tmp_path, monkeypatch, where):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupt)
    folder = tmp_path / "out"
    folder.mkdir()
    done = run(recordings["wav"], "-o", folder / "o.safetensors", "--plot", folder / "p.png")
    assert done.exit_code == 130
    assert "interrupted" in done.stderr
    assert done.stdout == ""
    assert list(folder.iterdir()) == []
