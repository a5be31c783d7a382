"""``headrouter evaluate --probes``: what states hold, beside what is answered."""

import json

import pytest

from calibrate.evaluation.probing import measuring
from tests.calibrate.evaluation.command.asked import run
from tests.calibrate.evaluation.datasets.audio_files import write_audio


@pytest.fixture
def options(thinker, tmp_path):
    rows = []
    for number in range(8):
        write_audio(tmp_path / f"{number}.wav", 1.0, number)
        label = ("cat", "dog")[number % 2]
        row = {"audio_filepath": f"{number}.wav", "task": "event", "answer": label}
        rows.append(row | {"group": "acoustic", "prompt": "Which?", "speaker": str(number)})
    story = {"task": "story", "kind": "judged", "answer": "much", "speaker": "a"}
    rows.append({**rows[0], **story})
    manifest = tmp_path / "all.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    more = {"--methods": "frame,random", "--ratios": "0.6", "--timed": 0, "--examples": 0}
    given = {"--model": thinker, "--data": manifest, "--device": "cpu", **more}
    return [str(part) for option in given.items() for part in option]


def test_probes_are_measured_once_shown_and_kept(options, tmp_path, monkeypatch, undrawn):
    folder = tmp_path / "results"
    done = run(options, folder, "--probes")
    assert done.exit_code == 0, done.stderr
    assert "Probe linear" in done.stdout
    assert "Probe knn" in done.stdout
    assert "Not probed: story (its answers are no labels)." in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    stored = json.loads((folder / "probes.json").read_text("utf-8"))

    def again(*_):
        raise AssertionError("measured twice")

    monkeypatch.setattr(measuring, "measure", again)
    asked = json.loads(run(options, folder, "--probes", "--json").stdout)
    assert asked["probes"] == stored
    assert stored["tasks"]["event"]["items"] == 8
    systems = [("vanilla", 0.0), ("frame", 0.6), ("random", 0.6)]
    assert [(r["method"], r["ratio"]) for r in stored["averages"]] == systems * 2
    assert "probes" not in json.loads(run(options, folder, "--json").stdout)
