"""What ``headrouter prune`` takes for a recording, and what it says of odd ones."""

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from calibrate.cli import app
from calibrate.models import asking, named
from calibrate.pruning import command
from tiny_omni import DEMO

RATE = 16_000


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr(asking, "RUNS", 1)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(thinker):
    def invoke(*arguments, **more):
        options = ["--model", thinker, "--method", "frame", "--max-new-tokens", 1, "--json"]
        return CliRunner().invoke(app, [str(x) for x in ("prune", *options, *arguments)], **more)

    return invoke


def noise(path, scale=0.1, channels=(1,), seconds=1.0):
    samples = np.random.default_rng(0).uniform(-scale, scale, int(RATE * seconds))
    soundfile.write(path, np.stack([samples * c for c in channels], 1), RATE, subtype="FLOAT")
    return path


def test_standard_input_is_read(run):
    done = run("-", input=DEMO.read_bytes())
    assert done.exit_code == 0, done.stderr
    found, same = json.loads(done.stdout), json.loads(run(DEMO).stdout)
    assert found["file"] == "-"
    assert found["kept_indices"] == same["kept_indices"]
    assert found["warnings"] == same["warnings"] == []


def test_standard_input_is_read_once(run):
    done = run("-", "-", input=DEMO.read_bytes())
    assert done.exit_code == 2
    assert "- is given twice" in done.stderr


def test_a_file_called_dash_is_not_standard_input(run, tmp_path):
    noise(tmp_path / "noise.wav").rename(tmp_path / "-")
    done = run("./-", input=DEMO.read_bytes())
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["seconds_audio"] == 1.0


@pytest.mark.parametrize("question", ["", " \n"])
def test_an_empty_question_is_not_the_default_one(run, question):
    done = run(DEMO, "--question", question)
    assert done.exit_code == 2
    assert "--question is empty" in done.stderr


def test_what_is_odd_is_said_once_and_in_json(run, tmp_path):
    path = noise(tmp_path / "odd.wav", scale=2.0, channels=(1, -1))
    done = run(path)
    assert done.exit_code == 0, done.stderr
    warnings = json.loads(done.stdout)["warnings"]
    assert [text.split()[1] for text in warnings] == ["is", "channels"]
    assert done.stderr.count("odd.wav: it is clipped") == 1
    assert done.stderr.count("odd.wav: its channels cancel") == 1


def test_one_bad_recording_of_any_kind_never_ends_the_others(run, tmp_path, monkeypatch):
    (tmp_path / "text.mp3").write_text("a letter\n" * 99)
    (tmp_path / "cut.flac").write_bytes(DEMO.read_bytes()[:50_000])
    bad = [tmp_path / "text.mp3", tmp_path / "cut.flac", tmp_path, "http://host/a.mp3"]
    loud = noise(tmp_path / "loud.wav", scale=1e30)
    good = noise(tmp_path / "good.wav")
    read = command.read

    def failing(source, *rest, **more):
        if source.name.endswith("fault.wav"):
            raise ValueError("of a library")
        return read(source, *rest, **more)

    monkeypatch.setattr(command, "read", failing)
    fault = noise(tmp_path / "fault.wav")
    done = run(DEMO, *bad, loud, fault, good)
    assert done.exit_code == 4, done.stderr
    found = json.loads(done.stdout)
    assert [result["file"] for result in found["results"]] == [str(DEMO), str(good)]
    errors = [failure["error"] for failure in found["failed"]]
    said = ["not audio", "truncated", "is a folder", "is an address", "no sound", "of a library"]
    for error, part in zip(errors, said, strict=True):
        assert part in error
        assert error in done.stderr


def test_what_is_too_long_is_refused_before_the_weights_are_read(run, tmp_path, monkeypatch):
    def read_weights(*_, **__):
        raise AssertionError("the weights were read")

    monkeypatch.setattr(named, "read_weights", read_weights)
    done = run(noise(tmp_path / "long.wav", seconds=31))
    assert done.exit_code == 1
    assert "the audio is 31.00 s long by its header, and may be at most 30 s; cut it" in done.stderr
    assert "the weights were read" in run(DEMO).stderr


def test_a_shells_pipe(thinker):
    command = [sys.executable, "-c", "from calibrate.cli import main; main()", "prune", "-"]
    command += ["--model", thinker, "--method", "frame", "--max-new-tokens", "1", "--json"]
    done = subprocess.run(command, input=DEMO.read_bytes(), capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["file"] == "-"
