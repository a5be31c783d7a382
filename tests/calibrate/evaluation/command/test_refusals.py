"""What ``headrouter evaluate`` refuses, counts as faults, or stops at."""

import json
import shutil

import pytest
import torch
from typer.testing import CliRunner

from calibrate.cli import app
from headrouter_core import Frame
from headrouter_core.selectors import Selection
from tests.calibrate.evaluation.command.asked import run


def test_faults_are_counted_named_and_tried_again(arguments, questions, tmp_path, undrawn):
    data = tmp_path / "data"
    shutil.copytree(questions.parent, data)
    (data / "dog.wav").write_bytes(b"no sound")
    (data / "cat.wav").rename(data / "moved.wav")
    arguments = [str(data / "all.jsonl") if a == str(questions) else a for a in arguments]
    done = run(arguments, tmp_path / "results", "--methods", "frame")
    assert done.exit_code == 1
    assert "nothing of all.jsonl could be asked; the first: cat.wav" in done.stderr
    shutil.copy(questions.parent / "cat.wav", data)
    done = run(arguments, tmp_path / "more", "--methods", "frame", "--json")
    assert done.exit_code == 4
    found = json.loads(done.stdout)
    assert found["dataset"]["complete"] is False
    assert found["dataset"]["tasks"]["event"]["faults"] == 1
    reasons = [fault["reason"] for fault in found["dataset"]["faults"]]
    assert len(reasons) == 3
    assert all(reason.startswith("dog.wav: not audio") for reason in reasons)  # and not where
    assert "3 items of all.jsonl could not be asked" in done.stderr
    shutil.copy(questions.parent / "dog.wav", data)
    done = run(arguments, tmp_path / "more", "--methods", "frame")
    assert done.exit_code == 0, done.stderr
    assert len(json.loads((tmp_path / "more" / "results.json").read_text())["items"]) == 5


def test_methods_without_a_profile_need_none(thinker, questions, tmp_path, monkeypatch, undrawn):
    monkeypatch.chdir(tmp_path)
    options = ["--model", thinker, "--data", questions, "--device", "cpu", "--limit", "1"]
    options = [*map(str, options), "--timed", "0", "--examples", "0", "--ratios", "0.9"]
    done = run(options, tmp_path / "a")
    assert done.exit_code == 3
    assert "headrouter calibrate" in done.stderr
    assert "--methods segments,frame,random,fastv" in done.stderr
    done = run(options, tmp_path / "a", "--methods", "frame,fastv")
    assert done.exit_code == 0, done.stderr
    found = json.loads((tmp_path / "a" / "results.json").read_text())
    assert found["evaluation"]["profile"] is None
    assert found["items"][0]["selectivity"]
    assert not (tmp_path / "a" / "timing.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ratios", "0"], "prunes nothing"),
        (["--ratios", "0.6,1"], "outside"),
        (["--methods", "frames"], "no method 'frames'; known are all, headrouter"),
        (["--data", "librispeech:here"], "known are scenes, audiomarathon:DIR, mmau-pro:DIR"),
        (["--data", "mmau-pro:nowhere"], "'nowhere' is no folder"),
        (["--data", "x.jsonl", "--seconds", "10"], "--seconds is for --data scenes"),
        (["--seconds", "70"], "4 to 60 s long"),
        (["--split", "exam"], "known are train, calibration, test"),
        (["--layer", "0"], "--layer"),
        (["--shard", "3/2"], "--shard 3/2 is not K/N"),
        (["--shard", "0/2"], "--shard 0/2 is not K/N"),
        (["--shard", "half"], "--shard half is not K/N"),
    ],
)
def test_what_cannot_be_is_said_at_once(tmp_path, options, message):
    output = tmp_path / "results"
    done = CliRunner().invoke(app, ["evaluate", "--output", str(output), *options])
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert done.stdout == ""
    assert not output.exists()


LONG = "a" * 300


@pytest.mark.parametrize(
    ("folder", "cause"),
    [
        ("file/results", "file is"),
        ("file", "file is"),
        ("file/a/b", "file is"),
        (LONG, "File name too long"),
        (f"new/{LONG}/results", "File name too long"),
        ("/".join(["new"] * 2000), "File name too long"),
    ],
)
def test_a_folder_that_cannot_be_is_refused_before_scenes_are_composed(
    tmp_path, monkeypatch, folder, cause
):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("calibrate.evaluation.command.read_data", None)
    done = CliRunner().invoke(app, ["evaluate", "--output", str(tmp_path / folder)])
    assert done.exit_code == 2, done.stderr
    assert cause in " ".join(done.stderr.split())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_method_that_breaks_its_contract_stops_everything(
    arguments, tmp_path, monkeypatch, undrawn
):
    def broken(self, view, k):
        return Selection(torch.arange(k + 1))

    monkeypatch.setattr(Frame, "__call__", broken)
    done = run(arguments, tmp_path / "results", "--methods", "frame")
    assert done.exit_code == 1
    assert "selector frame returned" in done.stderr


def test_logits_that_are_no_numbers_stop_everything(arguments, tmp_path, monkeypatch, undrawn):
    nan = torch.full((1,), torch.nan)
    monkeypatch.setattr("calibrate.evaluation.asking.records.divergence", lambda *_: nan)
    done = run(arguments, tmp_path / "results", "--methods", "frame")
    assert done.exit_code == 1
    assert "logits with vanilla at ratio 0 are not finite" in done.stderr
