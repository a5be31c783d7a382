"""The commands take a model that the recipe made."""

import json

import pytest
import soundfile
from typer.testing import CliRunner

from calibrate.cli import app
from headrouter_core import load_profile
from small_omni import build
from small_omni.adapter import Places, attach, save, trained
from small_omni.assembly import assemble
from tiny_omni import DEMO


@pytest.fixture
def made(random_parts, tmp_path, monkeypatch):
    """The folder that build writes of small random parts and an adapter."""
    import torch

    trainee = assemble(random_parts, seed=1).model
    attach(trainee, Places(2, 2, 1))
    save(trained(trainee), tmp_path / "adapter.safetensors", torch.float16)
    monkeypatch.setattr(build, "fetch_parts", lambda folder: [])
    monkeypatch.setattr(build, "read_parts", lambda folder: random_parts)
    monkeypatch.setattr(build, "verify", lambda parts: ["tried"])
    build.build(tmp_path / "wheels", tmp_path / "small", tmp_path / "adapter.safetensors", print)
    return tmp_path / "small"


@pytest.mark.slow
def test_built_model_is_calibrated_and_pruned(made, tmp_path):
    profile = tmp_path / "small.safetensors"
    options = ["--model", str(made), "--device", "cpu"]
    done = CliRunner().invoke(
        app, ["calibrate", *options, "--per-category", "3", "--output", str(profile)]
    )
    assert done.exit_code == 0, done.output
    assert load_profile(profile).model.heads == 4
    samples, rate = soundfile.read(DEMO)
    soundfile.write(tmp_path / "short.wav", samples[: 3 * rate], rate)
    more = ["--ratio", "0.6", "--json", "--profile", str(profile)]
    done = CliRunner().invoke(app, ["prune", str(tmp_path / "short.wav"), *options, *more])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["kept"] == 30
