"""Calibrating on a manifest with recordings that cannot be used: the others are."""

import json

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from calibrate.cli import app
from calibrate.estimation import command
from calibrate.estimation.samples.sample import manifest_samples
from calibrate.estimation.samples.usable import audible
from calibrate.sound.reading import load_audio
from calibrate.terminal.console import plain_messages, warned

RATE = 16_000


@pytest.fixture
def manifest(tmp_path):
    """Twelve recordings for each of two tasks; of the first task one is cut, one too long."""
    rng = np.random.default_rng(0)
    lines = []
    for number in range(24):
        name = f"{number}.wav"
        seconds = 31 if number == 2 else 1
        soundfile.write(tmp_path / name, rng.uniform(-0.1, 0.1, seconds * RATE), RATE)
        task, group = ("said", "semantic") if number % 2 == 0 else ("heard", "acoustic")
        entry = {"audio_filepath": name, "task": task, "group": group, "prompt": "?", "answer": "a"}
        lines.append(json.dumps(entry))
    cut = tmp_path / "0.wav"
    cut.write_bytes(cut.read_bytes()[:9_000])
    path = tmp_path / "manifest.jsonl"
    path.write_text("\n".join(lines))
    return path


def test_unusable_recordings_are_left_out_and_named(manifest, loaded, capsys):
    samples = manifest_samples(manifest, 100)
    failed = {}
    good = audible(samples, loaded.frontend, failed)
    again = audible(samples, loaded.frontend, failed)
    assert good == again == [s for s in samples if s.id.split("#")[0] not in ("0.wav", "2.wav")]
    assert {name.split("#")[0] for name in failed} == {"0.wav", "2.wav"}
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("truncated") == said.count("and may be at most 30 s") == 1


def test_the_command_goes_on_and_says_so(manifest, thinker, profile, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = []
    monkeypatch.setattr(
        command, "calibrate", lambda loaded, samples, **_: given.extend(samples) or profile
    )
    call = ["calibrate", "--model", thinker, "--data", manifest, "--per-category", 100, "--json"]
    done = CliRunner().invoke(app, [str(part) for part in call])
    assert done.exit_code == 4, done.stderr
    assert len(given) == 22
    found = json.loads(done.stdout)
    assert {entry["id"].split("#")[0] for entry in found["failed"]} == {"0.wav", "2.wav"}
    assert "truncated" in found["failed"][0]["error"] + found["failed"][1]["error"]
    assert (tmp_path / found["output"]).is_file()
    assert "2 recordings of" in done.stderr


def test_a_warning_is_shown_once_and_kept_for_json(tmp_path, capsys):
    soundfile.write(tmp_path / "still.wav", np.zeros(RATE), RATE)
    with plain_messages():
        for _ in range(3):
            load_audio(tmp_path / "still.wav")
        (text,) = warned()
    assert "still.wav: it is silent" in text
    assert capsys.readouterr().err.count("it is silent") == 1
    with plain_messages():
        assert warned() == []
