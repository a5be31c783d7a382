"""What ``plan --data`` counts is what calibrations and evaluations ask for."""

import json

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from calibrate.cli import app
from calibrate.estimation.bench import Bench
from calibrate.estimation.calibration import calibrate
from calibrate.estimation.samples.sample import shipped_samples
from calibrate.evaluation.asking import run
from calibrate.evaluation.asking.methods import METHODS
from calibrate.planning.blueprint import draw
from calibrate.planning.work import Pricing, calibration_sets, evaluation
from calibrate.terminal.console import STDERR
from calibrate.terminal.progress import Progress

RATIO = 0.6


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Two items of 3 and 5 seconds, and one that cannot be read."""
    folder = tmp_path_factory.mktemp("set")
    rows = []
    for number, seconds in enumerate((3, 5)):
        noise = np.random.default_rng(number).uniform(-0.1, 0.1, 16_000 * seconds)
        soundfile.write(folder / f"{number}.wav", noise, 16_000)
        rows.append({"audio_filepath": f"{number}.wav", "answer": "one"})
    (folder / "2.wav").write_bytes(b"RIFF")
    rows.append({"audio_filepath": "2.wav", "answer": "two"})
    more = {"task": "digits", "group": "semantic", "prompt": "Which digit?"}
    path = folder / "set.jsonl"
    path.write_text("".join(json.dumps({**row, **more}) + "\n" for row in rows))
    return path


def test_calibrations_ask_for_so_many_kept_sets(loaded, monkeypatch):
    chosen, reported = [], []
    real = Bench.outcomes

    def counting(self, sets):
        (reported if self.sample.held_out else chosen).append(len(sets))
        return real(self, sets)

    monkeypatch.setattr(Bench, "outcomes", counting)
    samples = [s for s in shipped_samples(3, seconds=4.0) if s.task in ("digits", "event")]
    assert {s.group for s in samples} == {"semantic", "acoustic"}
    with Progress(STDERR) as progress:
        calibrate(loaded, samples, layer=2, ratios=[RATIO], seed=0, progress=progress)
    each = calibration_sets(heads=16, ratios=1)
    held_out = sum(sample.held_out for sample in samples)
    assert sum(chosen) == each[0] * (len(samples) - held_out)
    assert sum(reported) == each[1] * held_out


def test_evaluations_ask_every_method_at_every_ratio(manifest):
    blueprint = draw("tiny-omni", revision=None, dtype="auto", trust_remote_code=False)
    found = evaluation(Pricing(blueprint, 2), str(manifest), None)
    ratios = (0.3, 0.6, 0.9)
    plan = run.Plan(tuple(METHODS.values()), ratios, 2, 0, None)
    assert found.items == 3
    shorter = [m for m in METHODS.values() if m.shortening is not None]
    assert found.passes == 3 * (1 + len(shorter) * len(ratios))
    assert found.sets == 3 * len(plan.systems)
    assert found.seconds == 4
    (unfit,) = found.unfit
    assert "2.wav" in unfit
    single = evaluation(Pricing(blueprint, 2), str(manifest), 0.9)
    assert single.flops < found.flops
    assert single.answer_flops < found.answer_flops


def test_a_set_on_a_screen(manifest):
    done = CliRunner().invoke(
        app, ["plan", "--data", str(manifest), "--gpu", "a100", "--model", "tiny-omni"]
    )
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    text = " ".join(done.stdout.split())
    assert "headrouter calibrate cannot use" in text  # one group only
    assert "1 OF THESE 3 DO NOT FIT" in text
    assert "estimate: arithmetic alone, at 40 % of 312 TFLOP/s" in text
