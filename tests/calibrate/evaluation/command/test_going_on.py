"""``headrouter evaluate`` goes on where it was: killed, interrupted, in shards."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.calibrate.evaluation.command.asked import run, without_seconds

ROOT = Path(__file__).parents[4]


def test_a_second_run_asks_nothing(arguments, whole, monkeypatch, undrawn):
    folder, first = whole
    before = {path: path.read_bytes() for path in folder.rglob("*.json*")}
    for name in ("asking.run.Trial", "asking.timing.measure", "showing.examples.collect"):
        monkeypatch.setattr(f"calibrate.evaluation.{name}", None)
    again = run(arguments, folder)
    assert again.exit_code == 0, again.stderr
    assert again.stdout == first.stdout
    assert "where 5 items are done" in again.stderr
    assert {path: path.read_bytes() for path in folder.rglob("*.json*")} == before


KILLED = """
import os, signal
from calibrate.running import journal
from calibrate.evaluation.datasets import manifest
from calibrate.evaluation.scoring.items import KINDS

written = 0

def cut(path, descriptor, content):
    global written
    written += 1
    if written == 3:  # two items, and half of the third
        os.write(descriptor, content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    append(path, descriptor, content)

append, journal._append = journal._append, cut
manifest.MAX_NEW_TOKENS = dict.fromkeys(KINDS, 4)
from calibrate.cli import main
main()
"""


def test_killed_while_it_writes_it_goes_on(arguments, whole, tmp_path, undrawn):
    folder = tmp_path / "results"
    command = [sys.executable, "-c", KILLED, "evaluate", *arguments, "--output", str(folder)]
    killed = subprocess.run(command, capture_output=True, cwd=ROOT, timeout=600)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    journal = (folder / "evaluation.journal.jsonl").read_bytes()
    assert journal.count(b"\n") == 3
    assert not journal.endswith(b"\n")
    assert not (folder / "results.json").exists()
    done = run(arguments, folder)
    assert done.exit_code == 0, done.stderr
    assert "where 2 items are done" in done.stderr
    assert without_seconds(folder) == without_seconds(whole[0])


def test_shards_are_put_together(arguments, whole, tmp_path, monkeypatch, undrawn):
    folder = tmp_path / "results"
    for shard in ("1/2", "2/2"):
        done = run(arguments, folder, "--shard", shard)
        assert done.exit_code == 0, done.stderr
        assert done.stdout == ""
        assert not (folder / "results.json").exists()
    asked = [
        [json.loads(line)["id"] for line in path.read_text().splitlines()[1:]]
        for path in sorted(folder.glob("shard-*"))
    ]
    assert [len(part) for part in asked] == [3, 2]
    assert not set(asked[0]) & set(asked[1])
    monkeypatch.setattr("calibrate.evaluation.asking.run.Trial", None)  # nothing is asked any more
    rest = ("--timed", 0, "--examples", 0)
    done = run(arguments, folder, *rest)
    assert done.exit_code == 0, done.stderr
    assert without_seconds(folder) == without_seconds(whole[0])


def test_shards_of_another_evaluation_are_not_taken_in(arguments, tmp_path, undrawn):
    folder = tmp_path / "results"
    frame = ("--methods", "frame", "--timed", 0, "--examples", 0)
    assert run(arguments, folder, *frame, "--seed", 1, "--shard", "1/5").exit_code == 0
    done = run(arguments, folder, *frame)
    assert done.exit_code == 2
    assert "shard-1-of-5.journal.jsonl was begun with another seed" in done.stderr
    done = run(arguments, folder, *frame, "--force")
    assert done.exit_code == 0, done.stderr
    assert json.loads((folder / "results.json").read_text())["evaluation"]["seed"] == 0
    assert not list(folder.glob("shard-*"))


@pytest.mark.parametrize(
    "stage", ["asking.records.record", "asking.timing._timed", "showing.examples._example"]
)
def test_interrupted_in_any_stage_it_goes_on(
    arguments, whole, tmp_path, monkeypatch, undrawn, stage
):
    folder = tmp_path / "results"
    if stage != "asking.records.record":  # what went before is done
        folder.mkdir()
        for name in ("evaluation.journal.jsonl", "timing.json"):
            shutil.copy(whole[0] / name, folder)
    if stage == "asking.timing._timed":
        (folder / "timing.json").unlink()
    place = stage.replace("records", "run")
    module, _, name = place.rpartition(".")
    real = getattr(sys.modules[f"calibrate.evaluation.{module}"], name)
    calls = []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 1 + (stage == "asking.records.record"):
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(f"calibrate.evaluation.{place}", interrupted)
        done = run(arguments, folder)
    assert done.exit_code == 130
    assert "the same command goes on from there" in done.stderr
    done = run(arguments, folder)
    assert done.exit_code == 0, done.stderr
    assert without_seconds(folder) == without_seconds(whole[0])
    assert len(json.loads((folder / "timing.json").read_text())["items"]) == 1
    assert len(json.loads((folder / "examples.json").read_text())["items"]) == 2


def test_another_evaluation_does_not_mix(arguments, whole, tmp_path, undrawn):
    folder = tmp_path / "results"
    shutil.copytree(whole[0], folder)
    journal = folder / "evaluation.journal.jsonl"
    before = journal.read_bytes()
    done = run(arguments, folder, "--seed", 1)
    assert done.exit_code == 2
    assert "begun with another seed (seed: 0, now 1)" in done.stderr
    assert journal.read_bytes() == before
    done = run(arguments, folder, "--seed", 1, "--limit", 2, "--methods", "frame", "--force")
    assert done.exit_code == 0, done.stderr
    content = json.loads((folder / "results.json").read_text())
    assert content["evaluation"]["seed"] == 1
    assert len(content["items"]) == 2
    # tasks take turns, and what was left out is said
    assert {item["task"] for item in content["items"]} == {"event", "digits"}
    assert content["dataset"]["complete"] is False
    assert "INCOMPLETE" in done.stdout
    # what belongs to the other evaluation was not taken for this one's
    timing = json.loads((folder / "timing.json").read_text())
    assert timing["systems"] == [["vanilla", 0.0], ["frame", 0.6], ["frame", 0.9]]


def test_results_without_their_journal_are_not_replaced(arguments, whole, tmp_path):
    shutil.copy(whole[0] / "results.json", tmp_path)
    done = run(arguments, tmp_path)
    assert done.exit_code == 2
    assert "there is no journal to go on with" in done.stderr
