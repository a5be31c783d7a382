"""A calibration that is killed goes on where it was, and writes the same bytes."""

import itertools
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from calibrate.cli import app
from calibrate.estimation import command
from calibrate.estimation.replay import holding
from calibrate.running.journal import Journal

ROOT = Path(__file__).parents[3]
RATE = 16_000


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A manifest of eight short recordings for each of two tasks."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(16):
        soundfile.write(folder / f"{number}.wav", rng.uniform(-0.1, 0.1, RATE), RATE)
        task, group = ("said", "semantic") if number % 2 == 0 else ("heard", "acoustic")
        row = {"audio_filepath": f"{number}.wav", "task": task, "group": group}
        rows.append(json.dumps({**row, "prompt": "What?", "answer": "a dog"}))
    path = folder / "manifest.jsonl"
    path.write_text("\n".join(rows))
    return path


def call(thinker, data, output, *more):
    options = ["--model", thinker, "--data", data, "--ratios", "0.8", "--output", output, "--json"]
    return [str(part) for part in (*options, *more)]


def calibrate(*given):
    return CliRunner().invoke(app, ["calibrate", *call(*given)])


@pytest.fixture(scope="module")
def whole(thinker, data, tmp_path_factory):
    """What comes out where nothing happens: bytes, and all that was written into the journal."""
    output, written = tmp_path_factory.mktemp("whole") / "p.safetensors", []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "write", noting(written))
        done = calibrate(thinker, data, output)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["resumed"] == 0
    assert [path.name for path in output.parent.iterdir()] == ["p.safetensors"]
    return output.read_bytes(), written


def noting(written, stop=None):
    """Journal.write that notes ids, and is interrupted at the line number ``stop``."""
    write = Journal.write

    def noted(self, line):
        if len(written) == stop:
            raise KeyboardInterrupt
        write(self, line)
        written.append(line["id"])

    return noted


@pytest.fixture
def interrupted(thinker, data, whole, tmp_path):
    """A calibration that was interrupted two thirds of its way; what it had written."""
    output, written = tmp_path / "p.safetensors", []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "write", noting(written, len(whole[1]) * 2 // 3))
        stopped = calibrate(thinker, data, output)
    assert stopped.exit_code == 130
    assert "p.safetensors.journal; the same command goes on from there" in stopped.stderr
    assert not output.exists()
    return output, written


def test_it_goes_on_and_does_nothing_again(
    thinker, data, whole, interrupted, tmp_path, monkeypatch
):
    output, before = interrupted
    after = []
    monkeypatch.setattr(Journal, "write", noting(after))
    # samples may wait elsewhere than before
    done = calibrate(thinker, data, output, "--memory", "0")
    assert done.exit_code == 0, done.stderr
    assert "going on with" in done.stderr
    assert output.read_bytes() == whole[0]
    assert before + after == whole[1]
    asked = {name.partition(": ")[2] for name in before}
    assert json.loads(done.stdout)["resumed"] == len(asked) > 5
    assert [path.name for path in tmp_path.iterdir()] == ["p.safetensors"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--seed", "1"], "another order, samples, seed"),
        (["--ratios", "0.7"], r"another ratios (ratios: [0.8], now [0.7])"),
        (["--recipe", "paper"], "another recipe (recipe: 'best', now 'paper')"),
        (["--layer", "1"], "another layer, model (layer: 2, now 1)"),
        (["--leave-one-out"], "another ablation"),
        (["--limit", "15"], "another order, samples"),
        (["--dtype", "bfloat16"], "another model, weights"),
    ],
)
def test_other_options_are_refused(thinker, data, interrupted, options, told):
    output, _ = interrupted
    journal = output.with_name("p.safetensors.journal")
    before = journal.read_bytes()
    done = calibrate(thinker, data, output, *options)
    assert done.exit_code == 2
    assert f"{journal} was begun with {told}" in done.stderr
    assert "start anew with --force" in done.stderr
    assert journal.read_bytes() == before
    assert not output.exists()


def test_other_data_is_refused_by_name(thinker, data, interrupted, tmp_path, monkeypatch):
    output, _ = interrupted
    real = command.manifest_samples

    def louder(*given, **more):
        samples = real(*given, **more)
        changed = samples[0]
        read = changed.read
        samples[0] = command.replace(changed, read=lambda **given: 2 * read(**given))
        return samples

    monkeypatch.setattr(command, "manifest_samples", louder)
    done = calibrate(thinker, data, output)
    assert done.exit_code == 2
    (name,) = [sample.id for sample in real(data, 10)][:1]
    assert f"was begun with another samples (samples: {{'{name}': " in done.stderr


def test_force_begins_anew(thinker, data, interrupted, profile, monkeypatch):
    output, _ = interrupted
    seen = []

    def taken(*_, work, **__):
        seen.append(dict(work.journal.lines))
        return profile

    monkeypatch.setattr(command, "calibrate", taken)
    assert calibrate(thinker, data, output, "--seed", "1", "--force").exit_code == 0
    assert seen == [{}]


def test_killed_between_its_output_and_its_end(thinker, data, whole, tmp_path, monkeypatch):
    output = tmp_path / "p.safetensors"
    save = command._save

    def stopped(*given, **more):
        save(*given, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(command, "_save", stopped)
        assert calibrate(thinker, data, output).exit_code == 130
    assert len(list(tmp_path.glob("*.journal"))) == 1
    monkeypatch.setattr(holding, "capture", None)  # nothing is run any more
    done = calibrate(thinker, data, output)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["resumed"] > 5
    assert output.read_bytes() == whole[0]
    assert [path.name for path in tmp_path.iterdir()] == ["p.safetensors"]
    # now there is nothing to go on with
    done = calibrate(thinker, data, output)
    assert done.exit_code == 2
    assert "exists; choose another name" in done.stderr


def test_an_output_that_came_meanwhile_is_kept(thinker, data, interrupted):
    output, _ = interrupted
    output.write_text("another's")
    done = calibrate(thinker, data, output)
    assert done.exit_code == 2
    assert "exists; choose another name, or replace it with --force" in done.stderr
    assert output.read_text() == "another's"


def test_killed_at_random_moments_it_writes_the_same_bytes(thinker, data, whole, tmp_path):
    output = tmp_path / "p.safetensors"
    loop = [sys.executable, "-m", "tests.calibrate.estimation.killed", "0", "8"]
    done = subprocess.run(
        [*loop, *call(thinker, data, output)], capture_output=True, cwd=ROOT, timeout=900
    )
    lives = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b'{"seconds')]
    assert lives, done.stderr
    assert [life["code"] for life in lives] == [-signal.SIGKILL] * (len(lives) - 1) + [0]
    assert output.read_bytes() == whole[0]
    for life, following in itertools.pairwise(lives):
        assert following["before"] == life["after"] >= life["before"]
    assert [path.name for path in tmp_path.iterdir()] == ["p.safetensors"]
