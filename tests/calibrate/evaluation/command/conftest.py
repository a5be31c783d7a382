"""Evaluations of five questions about short sounds, by a tiny model."""

import json

import pytest

from tests.calibrate.evaluation.command.asked import METHODS, RATIOS, run, shortened
from tests.calibrate.evaluation.datasets.audio_files import write_audio


@pytest.fixture(scope="session")
def questions(tmp_path_factory):
    """A manifest of five questions about four sounds, one of them for a judge."""
    folder = tmp_path_factory.mktemp("questions")
    common = {"event": "acoustic", "digits": "semantic", "story": "semantic"}
    lines = [
        ("event", "cat.wav", "Cat or dog?", "cat", {"speaker": "a"}),
        ("event", "dog.wav", "Cat or dog?", "dog", {"speaker": "b"}),
        ("digits", "cat.wav", "Which digits?", "one two", {"kind": "transcript", "speaker": "a"}),
        ("digits", "dog.wav", "Which digits?", "three", {"kind": "transcript", "speaker": "b"}),
        ("story", "dog.wav", "What happens?", "much", {"kind": "judged", "speaker": "b"}),
    ]
    rows = [
        {"audio_filepath": name, "task": task, "group": common[task], "prompt": prompt}
        | {"answer": answer, **more}
        for task, name, prompt, answer, more in lines
    ]
    (folder / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for seed, name in enumerate(("cat.wav", "dog.wav")):
        write_audio(folder / name, 1.0, seed)
    return folder / "all.jsonl"


@pytest.fixture(scope="session")
def saved(profile, tmp_path_factory):
    path = tmp_path_factory.mktemp("profiles") / "drawn.safetensors"
    profile.save(path)
    return path


@pytest.fixture(scope="session")
def arguments(thinker, saved, questions):
    """What all evaluations here have in common."""
    options = {
        "--model": thinker,
        "--profile": saved,
        "--data": questions,
        "--methods": METHODS,
        "--ratios": RATIOS,
        "--device": "cpu",
        "--timed": 1,
        "--examples": 2,
    }
    return [str(part) for option in options.items() for part in option]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    shortened(monkeypatch)


@pytest.fixture(scope="session")
def whole(arguments, tmp_path_factory):
    """An evaluation that nothing interrupted: its folder and what was printed."""
    folder = tmp_path_factory.mktemp("whole") / "results"
    with pytest.MonkeyPatch.context() as patch:
        shortened(patch)
        done = run(arguments, folder)
    assert done.exit_code == 0, done.stderr
    return folder, done


@pytest.fixture(scope="session")
def results(whole):
    return json.loads((whole[0] / "results.json").read_text("utf-8"))


@pytest.fixture
def undrawn(monkeypatch):
    """Leave the pictures out: they are drawn in ``whole``."""
    monkeypatch.setattr("calibrate.evaluation.showing.plots.write_all", lambda *_: None)
