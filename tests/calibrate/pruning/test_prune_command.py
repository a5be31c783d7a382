import json
import struct

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from calibrate.models import selecting
from calibrate.pruning.command import EMBEDDED_QUESTION
from calibrate.sound.reading import load_audio
from headrouter_core import SELECTORS, Frame, HeadRouter, Random, prune, scoring
from tests.calibrate.pruning import small_model
from tiny_omni.questions import corpus

quick, run = small_model.quick, small_model.run

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
    monkeypatch.setattr(selecting, "shipped_profiles", lambda: shipped)
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
    from calibrate.models import own

    monkeypatch.setattr(own, "MODEL_DIR", thinker)
    done = run(recordings["wav"], "--json", model="tiny-omni")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["question"] == EMBEDDED_QUESTION
    assert EMBEDDED_QUESTION in corpus()
    assert "cannot transcribe free speech" in done.stderr


def test_other_models_are_asked_for_a_transcript(run, recordings):
    found = json.loads(run(recordings["wav"], "--json").stdout)
    assert found["question"] == "Transcribe the audio."


def test_the_embedded_model_answers(run, recordings):
    done = run(recordings["wav"], "--method", "frame", "--json", model="tiny-omni", profile=None)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["answer_unpruned"]
