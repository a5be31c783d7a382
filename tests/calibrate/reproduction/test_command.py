"""``headrouter reproduce`` on small folders in the sets' own layouts."""

import json

import pytest
from typer.testing import CliRunner

from calibrate.cli import app
from calibrate.evaluation.asking import run as asking
from calibrate.models import asking as timed
from calibrate.reproduction import command, drawing
from tests.calibrate.evaluation.datasets import test_audiomarathon, test_mmau_pro
from tests.calibrate.evaluation.datasets.audio_files import write_audio

whole = test_audiomarathon.whole


@pytest.fixture(scope="session")
def saved(profile, tmp_path_factory):
    path = tmp_path_factory.mktemp("profiles") / "drawn.safetensors"
    profile.save(path)
    return path


@pytest.fixture
def options(thinker, saved, monkeypatch):
    monkeypatch.setattr(timed, "RUNS", 1)
    monkeypatch.setattr(command, "EXAMPLES", 1)
    # pictures that an evaluation draws of itself are not what is tried here
    monkeypatch.setattr("calibrate.evaluation.showing.plots.write_all", lambda *_: None)
    return [
        "--model",
        str(thinker),
        "--profile",
        str(saved),
        "--device",
        "cpu",
        "--timed",
        "1",
        "--limit",
        "4",
    ]


def run(folder, *more):
    return CliRunner().invoke(app, ["reproduce", str(folder), *map(str, more)])


def test_tables_and_figures_are_made_and_what_is_lacking_is_named(
    whole, options, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        command, "METHODS", "frame,headrouter:auto,headrouter:semantic,headrouter:acoustic,energy"
    )
    folder = tmp_path / "made"
    done = run(folder, *options, "--audiomarathon", whole)
    assert done.exit_code == 0, done.stderr
    assert "AudioMarathon (table 1)" in done.stdout
    assert "Missing: MMAU-Pro" in done.stdout
    assert "fewer items than the set has" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 90
    content = json.loads((folder / "reproduction.json").read_text("utf-8"))
    (table,) = content["tables"]
    assert [line["method"] for line in table["lines"]][:3] == ["Vanilla", "Frame", "HeadRouter"]
    assert {line["kept_percent"] for line in table["lines"]} == {100, 70, 40, 10}
    assert set(content["figures"][0]) >= {"figure 3", "figure 8"}
    page = (folder / "reproduction.html").read_text("utf-8")
    for number in (3, 5, 7, 8, 9):
        assert f"Figure {number}" in page

    def again(*_):
        raise AssertionError("asked twice")

    monkeypatch.setattr(asking, "_asked", again)
    monkeypatch.setattr(drawing, "figures", lambda *_: [])
    told = run(folder, *options, "--audiomarathon", whole, "--json")
    assert told.exit_code == 0, told.stderr
    assert json.loads(told.stdout)["tables"] == content["tables"]


def test_accuracy_of_the_other_set_and_faults_are_told(options, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "METHODS", "frame,headrouter:auto,headrouter,energy")
    root = tmp_path / "MMAU-Pro"
    for name in ("a", "b"):
        write_audio(root / "data" / f"{name}.wav")
    test_mmau_pro.write(
        root,
        {},
        {"category": "speech", "audio_path": ["data/b.wav"]},
        {"category": "music", "audio_path": ["data/lost.wav"]},
    )
    done = run(tmp_path / "made", *options, "--mmau-pro", root)
    assert done.exit_code == 4, done.stderr
    assert "MMAU-Pro (tables 2 and 3): accuracy" in done.stdout
    assert "lost.wav" in done.stderr
    assert (tmp_path / "made/reproduction.html").is_file()


def test_without_a_set_there_is_nothing_to_do(options, tmp_path):
    done = run(tmp_path / "made", *options)
    assert done.exit_code == 2
    assert "--audiomarathon DIR, --mmau-pro DIR" in done.stderr
    assert not (tmp_path / "made").exists()
