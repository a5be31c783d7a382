"""What ``headrouter prune`` refuses: options, models, recordings, profiles, outputs."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from headrouter_core.profile.profile import Profile
from tests.calibrate.pruning import small_model

quick, run = small_model.quick, small_model.run


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ratio", "1"], r"ratio 1.0 is outside [0, 1)"),
        (["--ratio", "-0.1"], "outside [0, 1)"),
        (["--ratio", "1.5"], "outside [0, 1)"),
        (["--ratio", "inf"], "is not a number"),
        (["--method", "fastest"], "no method 'fastest'; known are"),
        (["--question", "What is <|AUDIO|>?"], "control token"),
        (["--question", " "], "needs an audio and a text"),
        (["--plot", "a.jpg"], "name that ends in .png"),
        (["--plot", "a.png", "--output", "a.png"], "a.png is given twice"),
        (["--output", "no/where"], "no is not a folder"),
        (["--output", "."], "is a folder"),
        (["--layer", "6", "--method", "frame"], "outside [1, 5]"),
        (["--layer", "99"], "outside [1, 5]"),
        (["--device", "gpu"], "is no device"),
        (["--dtype", "int4"], "not known"),
        (["--revision", "main"], "no revision"),
    ],
)
def test_bad_options(run, recordings, options, message):
    done = run(recordings["wav"], *options)
    assert done.exit_code == 2, done.stderr
    assert message in done.stderr
    assert done.stdout == ""
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("model", "code", "message"),
    [
        ("tiny-omi", 2, "Did you mean tiny-omni"),
        ("./nowhere", 2, "no folder"),
        (".", 1, "no config.json"),
    ],
)
def test_bad_models(run, recordings, model, code, message):
    done = run(recordings["wav"], model=model)
    assert done.exit_code == code
    assert message in done.stderr


def write_noise(path, seconds=1.0, bad=None):
    samples = np.random.default_rng(0).uniform(-0.1, 0.1, int(16_000 * seconds))
    if bad is not None:
        samples[100] = bad
    soundfile.write(path, samples, 16_000, subtype="FLOAT")
    return path


RECORDINGS = {
    "missing": (lambda path: path, 2, "no such audio file"),
    "folder": (lambda path: path.parent, 2, "is a folder"),
    "empty": (lambda path: path.touch() or path, 1, "0 bytes"),
    "text": (lambda path: path.write_text("hello\n" * 99) and path, 1, "not audio"),
    "nan": (lambda path: write_noise(path, bad=np.nan), 1, "NaN or infinite"),
    "long": (lambda path: write_noise(path, seconds=30.01), 1, "at most 30 s; cut it"),
    "short": (lambda path: write_noise(path, seconds=0.01), 1, "too short"),
}


@pytest.mark.parametrize("kind", RECORDINGS)
def test_bad_recordings(run, tmp_path, kind):
    make, code, message = RECORDINGS[kind]
    done = run(make(tmp_path / "bad.wav"), "--json")
    assert done.exit_code == code, done.stderr
    assert message in done.stderr
    assert done.stdout == ""


def test_a_bad_recording_is_refused_before_the_model_is_loaded(run, tmp_path, monkeypatch):
    def load(*_, **__):
        raise AssertionError("loaded")

    monkeypatch.setattr("calibrate.models.named.load", load)
    done = run(tmp_path / "missing.wav")
    assert (done.exit_code, "no such audio file" in done.stderr) == (2, True)
    assert "loaded" in run(write_noise(tmp_path / "good.wav")).stderr


def newer(path):
    content = path.read_bytes()
    assert b'\\"schema\\":1' in content
    path.write_bytes(content.replace(b'\\"schema\\":1', b'\\"schema\\":9'))


PROFILES = {
    "missing": (lambda path: path.unlink(), "profile"),
    "corrupt": (lambda path: path.write_bytes(b"\xff" * 500), "not a readable safetensors file"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-50]), "not a readable"),
    "newer": (newer, "schema is 9"),
}


@pytest.mark.parametrize("kind", PROFILES)
def test_bad_profiles(run, recordings, profile_file, kind):
    spoil, message = PROFILES[kind]
    spoil(profile_file)
    done = run(recordings["wav"])
    assert done.exit_code == 3, done.stderr
    assert message in done.stderr
    assert done.stdout == ""


def test_a_foreign_profile_is_refused_unless_forced(run, recordings, profile, tmp_path):
    info = type(profile.model)(**{**vars(profile.model), "fingerprint": "ab" * 32})
    parts = {name: getattr(profile, name) for name in ("tensors", "recipe", "calibration")}
    Profile(model=info, **parts).save(tmp_path / "foreign.safetensors")
    done = run(recordings["wav"], profile=tmp_path / "foreign.safetensors")
    assert done.exit_code == 3
    assert "fingerprint" in done.stderr
    done = run(recordings["wav"], "--force", profile=tmp_path / "foreign.safetensors")
    assert done.exit_code == 0
    assert done.stderr.count("warning: fingerprint") == 1


def test_a_profile_of_another_layer_is_refused(run, recordings):
    done = run(recordings["wav"], "--layer", "3")
    assert done.exit_code == 3
    assert "probe_layer is 2, calibrated was 1" in done.stderr


def test_existing_files_are_kept_unless_forced(run, recordings, tmp_path):
    for option, name in (("--output", "o.safetensors"), ("--plot", "p.png")):
        path = tmp_path / name
        path.write_text("mine")
        done = run(recordings["wav"], option, path)
        assert done.exit_code == 2
        assert "exists; choose another name" in done.stderr
        assert path.read_text() == "mine"
        assert run(recordings["wav"], option, path, "--force").exit_code == 0
        assert path.read_bytes() != b"mine"


def test_an_input_is_never_overwritten(run, recordings, profile_file):
    for path in (recordings["wav"], profile_file):
        before = path.read_bytes()
        done = run(recordings["wav"], "--output", path, "--force")
        assert done.exit_code == 2
        assert "is an input" in done.stderr
        assert path.read_bytes() == before
