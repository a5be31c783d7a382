import json
import struct
import types
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from typer.testing import CliRunner

from calibrate.cli import app
from calibrate.models import asking, profiles
from calibrate.pruning.command import EMBEDDED_QUESTION
from calibrate.sound.reading import load_audio
from headrouter_core import SELECTORS, Frame, HeadRouter, Random, prune, scoring
from headrouter_core.profile.profile import Profile
from tiny_omni.questions import corpus

QUESTION = "Which digits are spoken?"
PROMISED = {
    "audio_tokens",
    "kept",
    "kept_indices",
    "ratio",
    "method",
    "spread",
    "mixing",
    "answer",
    "answer_unpruned",
    "seconds_audio",
}


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """One timed run, and a folder of one's own that holds no profile."""
    monkeypatch.setattr(asking, "RUNS", 1)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def run(thinker, profile_file):
    """Run ``headrouter prune`` on the small thinker with its profile."""

    def invoke(*arguments, model=thinker, profile=profile_file, tokens=4):
        options = ["--model", model, "--max-new-tokens", tokens, "--device", "cpu"]
        options += ["--profile", profile] if profile else []
        # the test's own come last: they win
        return CliRunner().invoke(app, [str(part) for part in ("prune", *options, *arguments)])

    return invoke


def test_every_format_gives_the_promised_keys(run, recordings, loaded):
    for path in recordings.values():
        done = run(path, "--ratio", "0.6", "--question", QUESTION, "--json")
        assert done.exit_code == 0, done.stderr
        found = json.loads(done.stdout)  # nothing but JSON
        assert found.keys() >= PROMISED
        tokens = loaded.frontend.audio_tokens(len(load_audio(path)))
        assert found["audio_tokens"] == tokens
        assert found["kept"] == len(found["kept_indices"]) == scoring.keep_count(tokens, 0.6)
        assert found["kept_indices"] == sorted(set(found["kept_indices"]))
        assert found["seconds_audio"] == pytest.approx(3, abs=0.01)
        assert (found["ratio"], found["method"], found["question"]) == (0.6, "headrouter", QUESTION)
        assert set(found["mixing"]) == {"semantic", "uniform", "acoustic"}
        assert sum(found["mixing"].values()) == pytest.approx(1)
        assert 0 <= found["spread"] <= 1
        assert found["prefill_seconds"]["pruned"] > 0
        assert found["prefill_seconds"]["unpruned"] > 0
        assert found["prefill_seconds"]["runs"] == 1


@pytest.mark.parametrize("method", ["headrouter", "frame", "random"])
def test_the_answer_is_the_cores(run, recordings, loaded, profile, method):
    done = run(
        recordings["wav"], "--method", method, "--seed", "3", "--question", QUESTION, "--json"
    )
    found = json.loads(done.stdout)
    selector = {
        "headrouter": HeadRouter(profile),
        "frame": Frame(),
        "random": Random(seed=3),
    }[method]
    inputs = loaded.frontend.inputs([load_audio(recordings["wav"])], QUESTION)
    with torch.inference_mode(), prune(loaded.model, selector, 0.6) as trace:
        output = loaded.model.generate(**inputs, max_new_tokens=4, do_sample=False)
    assert found["kept_indices"] == trace[0].kept.tolist()
    new = output[0, inputs["input_ids"].shape[1] :]
    assert found["answer"] == loaded.frontend.decode(new)
    if method == "headrouter":
        assert found["spread"] == pytest.approx(trace[0].spread.item())
    else:
        assert found["spread"] is None
        assert found["mixing"] is None
        assert found["profile"] is None


@pytest.mark.parametrize("method", SELECTORS)
def test_every_registered_method_can_be_named(run, recordings, method):
    done = run(recordings["wav"], "--method", method, "--json", tokens=1)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["method"] == method


def test_ratio_zero_changes_nothing(run, recordings):
    found = json.loads(run(recordings["flac"], "--ratio", "0", "--json", tokens=8).stdout)
    assert found["kept"] == found["audio_tokens"]
    assert found["answer"] == found["answer_unpruned"]
    assert found["kept_spans"] == [[0, pytest.approx(found["seconds_audio"], abs=0.04)]]


def test_a_layer_of_ones_own(run, recordings):
    done = run(recordings["wav"], "--method", "frame", "--layer", "4", "--json")
    assert json.loads(done.stdout)["layer"] == 4


def test_for_people(run, recordings):
    done = run(recordings["wav"], "--question", QUESTION)
    assert done.exit_code == 0
    for part in (
        QUESTION,
        "unpruned",
        "30 of 75",
        "spread",
        "semantic",
        "prefill",
        "|0s",
    ):
        assert part in done.stdout
    assert "cut at --max-new-tokens" in done.stdout
    assert done.stdout.startswith("answer    ")  # first of all
    assert max(map(len, done.stdout.splitlines()[3:])) <= 80
    assert "kept" in done.stdout.splitlines()[-1]
    assert "\x1b" not in done.stdout
    for part in ("device cpu: ", "dtype float32: ", "profile "):
        assert part in done.stderr


def test_output_holds_indices_importance_and_times(run, recordings, tmp_path):
    path = tmp_path / "kept.safetensors"
    done = run(recordings["wav"], "--output", path, "--json")
    found = json.loads(done.stdout)
    tensors = load_file(path)
    assert tensors["indices"].tolist() == found["kept_indices"]
    assert tensors["importance"].shape == (75,)
    assert tensors["importance"].dtype == torch.float32
    least = tensors["importance"][tensors["indices"]].min()
    dropped = [token for token in range(75) if token not in found["kept_indices"]]
    assert least >= tensors["importance"][dropped].max()
    assert tensors["times"].shape == (30, 2)
    assert tensors["times"].dtype == torch.float64
    assert tensors["times"][:, 0].tolist() == pytest.approx(
        [0.04 * token for token in found["kept_indices"]]
    )
    with safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["headrouter_pruning"])
    assert facts["file"] == "speech.wav"
    assert facts["answer"] == found["answer"]


def test_output_is_the_same_twice(run, recordings, tmp_path):
    paths = [tmp_path / name for name in ("a.safetensors", "b.safetensors")]
    for path in paths:
        assert run(recordings["wav"], "-o", path).exit_code == 0
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_output_of_a_method_that_does_not_score(run, recordings, tmp_path):
    run(recordings["wav"], "-o", tmp_path / "kept", "--method", "frame")
    assert load_file(tmp_path / "kept")["importance"].isnan().all()


@pytest.mark.parametrize("method", ["headrouter", "frame", "energy"])
def test_plot_is_a_picture(run, recordings, tmp_path, method):
    path = tmp_path / "kept.png"
    question = "Costs $5 or $6? 你好"
    done = run(recordings["wav"], "--plot", path, "--method", method, "--question", question)
    assert done.exit_code == 0, done.stderr
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", content[16:24])
    assert width > 1000
    assert height > 500
    assert "Glyph" not in done.stderr


def test_the_profile_lying_here_is_found(run, recordings, profile):
    profile.save("small-thinker.safetensors")
    done = run(recordings["wav"], "--json", profile=None)
    assert done.exit_code == 0
    assert "profile ./small-thinker.safetensors" in done.stderr
    assert json.loads(done.stdout)["profile"]["sha256"] == profile.digest


def test_the_shipped_profile_is_found(run, recordings, profile_file, monkeypatch):
    shipped = {"small-thinker": profile_file}
    monkeypatch.setattr(profiles, "shipped_profiles", lambda: shipped)
    done = run(recordings["wav"], profile=None)
    assert done.exit_code == 0
    assert "shipped with headrouter" in done.stderr


def test_no_profile_at_all(run, recordings):
    done = run(recordings["wav"], profile=None)
    assert done.exit_code == 3
    assert "make it with: headrouter calibrate --model" in done.stderr
    assert done.stdout == ""


def test_methods_without_a_profile_need_none(run, recordings):
    assert run(recordings["wav"], "--method", "frame", profile=None).exit_code == 0
    done = run(recordings["wav"], "--method", "frame")
    assert "frame uses no profile" in done.stderr


def test_a_full_checkpoint(run, full_omni, recordings):
    # the same weights, so the thinker's profile fits
    assert run(recordings["wav"], model=full_omni).exit_code == 0


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


def test_several_recordings(run, recordings):
    paths = [recordings["wav"], recordings["ogg"]]
    done = run(*paths, "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert [result["file"] for result in found["results"]] == [str(path) for path in paths]
    assert found["failed"] == []


def test_the_others_are_done_when_one_fails(run, recordings, tmp_path):
    (tmp_path / "empty.wav").touch()
    paths = [recordings["wav"], tmp_path / "empty.wav", tmp_path / "gone.wav", recordings["mp3"]]
    done = run(*paths, "--json")
    assert done.exit_code == 4
    found = json.loads(done.stdout)
    assert len(found["results"]) == 2
    assert [failure["file"] for failure in found["failed"]] == [str(path) for path in paths[1:3]]
    assert "0 bytes" in found["failed"][0]["error"]
    assert "2 of 4 recordings failed" in done.stderr
    text = run(*paths)
    assert text.exit_code == 4
    assert text.stdout.count("unpruned  ") == 2


def test_when_all_fail(run, tmp_path):
    done = run(tmp_path / "a.wav", tmp_path / "b.wav")
    assert done.exit_code == 1
    assert "2 of 2 recordings failed" in done.stderr


def test_one_file_cannot_hold_two_recordings(run, recordings, tmp_path):
    done = run(recordings["wav"], recordings["mp3"], "--output", tmp_path / "o")
    assert done.exit_code == 2
    assert "can hold one recording" in done.stderr


@pytest.mark.parametrize("where", ["os.fsync", "calibrate.pruning.command.answer"])
def test_an_interruption_leaves_nothing_behind(run, recordings, tmp_path, monkeypatch, where):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupt)
    folder = tmp_path / "out"
    folder.mkdir()
    done = run(recordings["wav"], "-o", folder / "o.safetensors", "--plot", folder / "p.png")
    assert done.exit_code == 130
    assert "interrupted" in done.stderr
    assert done.stdout == ""
    assert list(folder.iterdir()) == []


def test_a_count_that_does_not_fit_is_an_error(run, recordings, monkeypatch):
    from calibrate.models.frontends.qwen2_5_omni import Qwen25OmniFrontEnd

    honest = Qwen25OmniFrontEnd.audio_tokens
    calls = []

    def late_liar(self, samples):
        calls.append(samples)
        return honest(self, samples) - (len(calls) > 3)

    monkeypatch.setattr(Qwen25OmniFrontEnd, "audio_tokens", late_liar)
    done = run(recordings["wav"])
    assert done.exit_code == 1
    assert "the model was given 75 audio tokens" in done.stderr


def test_tiny_omni_is_asked_what_it_knows(run, recordings, thinker, profile_file, monkeypatch):
    from calibrate.models import named

    monkeypatch.setattr(named, "MODEL_DIR", thinker)
    done = run(recordings["wav"], "--json", model="tiny-omni")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["question"] == EMBEDDED_QUESTION
    assert EMBEDDED_QUESTION in corpus()
    assert "cannot transcribe free speech" in done.stderr


def test_other_models_are_asked_for_a_transcript(run, recordings):
    found = json.loads(run(recordings["wav"], "--json").stdout)
    assert found["question"] == "Transcribe the audio."


def ticking(monkeypatch, durations):
    """Make every forward take as long as the next of ``durations``, and note what ran."""
    now, ran = [0.0], []
    monkeypatch.setattr(asking.time, "perf_counter", lambda: now[0])

    def forward(**inputs):
        ran.append(len(ran))
        now[0] += durations[len(ran) - 1]

    return types.SimpleNamespace(model=forward, device=torch.device("cpu")), ran


def test_timing_takes_turns_and_the_median(monkeypatch):
    monkeypatch.setattr(asking, "RUNS", 3)
    # untimed, untimed, then slow and quick in turn
    model, ran = ticking(monkeypatch, [9, 9, 0.5, 0.1, 0.7, 0.2, 0.6, 0.3])
    entered = []
    ways = [lambda: nullcontext(entered.append("slow")), lambda: nullcontext(entered.append("q"))]
    seconds, runs = asking.prefill_seconds(model, {}, ways)
    assert seconds == pytest.approx([0.6, 0.2])
    assert runs == 3
    assert len(ran) == 8
    assert entered == ["slow", "q"] * 4


def test_a_slow_prefill_is_timed_once(monkeypatch):
    monkeypatch.setattr(asking, "RUNS", 5)
    model, ran = ticking(monkeypatch, [60.0] * 20)
    assert asking.prefill_seconds(model, {}, [nullcontext, nullcontext]) == ([60, 60], 1)
    assert len(ran) == 4


def test_the_embedded_model_answers(run, recordings):
    done = run(recordings["wav"], "--method", "frame", "--json", model="tiny-omni", profile=None)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["answer_unpruned"]
