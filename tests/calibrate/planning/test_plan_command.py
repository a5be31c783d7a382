"""``headrouter plan``: what it says of recordings, sets and servers, and what it refuses."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from calibrate.cli import app
from calibrate.models import named
from calibrate.planning import command, endpoint
from calibrate.planning.blueprint import draw
from calibrate.planning.hearing import read_prompt, weigh
from headrouter_core import Frame, prune
from tests.calibrate.planning.big_models import save_config
from tiny_omni import DEMO, MODEL_DIR


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """Folder of Qwen2.5-Omni-3B without its weights."""
    return save_config("qwen2.5-omni-3b", tmp_path_factory.mktemp("models") / "omni-3b")


@pytest.fixture(scope="module")
def two_hours(tmp_path_factory):
    path = tmp_path_factory.mktemp("audio") / "meeting.flac"
    soundfile.write(path, np.zeros(7200 * 8000, np.int16), 8000)
    return path


def plan(*arguments):
    return CliRunner().invoke(app, ["plan", *map(str, arguments)])


def test_two_hours_on_a_large_model_fit_on_a_screen(big, two_hours):
    done = plan(two_hours, "--model", big, "--gpu", "h100")
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    text = " ".join(done.stdout.split())
    assert "meeting.flac DOES NOT FIT omni-3b" in text
    assert "HEARD WOULD BE 300 s OF 7200.0 s" in text
    assert "the prompt has 180,0" in text
    assert "180,000 audio" in text


def test_what_is_said_for_machines(big, two_hours):
    done = plan(two_hours, "--model", big, "--gpu", "l4", "--json")
    found = json.loads(done.stdout)
    (recording,) = found["recordings"]
    assert recording["seconds"] == 7200
    assert recording["seconds_heard"] == 300
    assert recording["fits"] is False
    assert [reason[:10] for reason in recording["reasons"]] == [
        "HEARD WOUL",
        "the prompt",
        "its prefil",
    ]
    lengths = [row["seconds"] for row in found["prefill"]]
    assert lengths == [60, 300, 900, 3600]
    for row in found["prefill"]:
        assert row["audio_tokens"] == 25 * row["seconds"]
        assert row["pruned"]["flops"] < row["unpruned"]["flops"]
        assert row["pruned"]["peak_bytes"] < row["unpruned"]["peak_bytes"]
        assert row["unpruned"]["weight_bytes"] > 8e9
    assert found["model"]["context"] == 32_768
    assert found["model"]["dtype"] == "bfloat16"


def test_tokens_are_those_that_pruning_sees():
    recorded = json.loads(plan(DEMO, "--json", "--ratio", 0.9).stdout)["recordings"][0]
    loaded = named.load("tiny-omni", device="cpu")
    samples, _ = soundfile.read(DEMO, dtype="float32")
    inputs = loaded.frontend.inputs([samples], "Transcribe the audio.")
    with prune(loaded.model, Frame(), 0.9) as trace:
        loaded.model(**loaded.place(inputs))
    assert recorded["audio_tokens"] == trace[0].audio_tokens
    assert recorded["kept"] == len(trace[0].kept)
    assert recorded["prompt_tokens"] == inputs["input_ids"].shape[1]


def test_weights_are_not_read(monkeypatch):
    monkeypatch.setattr("safetensors.safe_open", None)
    monkeypatch.setattr("safetensors.torch.load_file", None)
    blueprint = draw("tiny-omni", revision=None, dtype="auto", trust_remote_code=False)
    assert {part.device.type for part in blueprint.anatomy.root.parameters()} == {"meta"}


def test_recordings_that_fit_and_not(two_hours):
    done = plan(DEMO, two_hours)
    assert done.exit_code == 0, done.stderr
    first = done.stdout.splitlines()
    assert first[0] == "1 of 2 recordings fit tiny-omni"
    assert "DOES NOT FIT" in first[3]
    assert max(map(len, first)) <= 80


def test_one_of_two_cannot_be_read(tmp_path):
    (tmp_path / "text.wav").write_text("no sound")
    done = plan(DEMO, tmp_path / "text.wav", "--json")
    assert done.exit_code == 4
    found = json.loads(done.stdout)
    assert len(found["recordings"]) == len(found["failed"]) == 1


def test_a_model_of_the_hub_offline(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    done = plan(DEMO, "--model", "qwen2.5-omni-3b")
    assert done.exit_code == 1
    assert "Qwen/Qwen2.5-Omni-3B is not in the local cache" in done.stderr


def test_only_weights_are_not_fetched(monkeypatch):
    asked = []

    def snapshot(repository, revision, allow_patterns):
        asked.append(allow_patterns)
        return MODEL_DIR

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert plan(DEMO, "--model", "some/model").exit_code == 0
    (patterns,) = asked
    assert "*.safetensors" not in patterns
    assert "*.json" in patterns


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give recordings, or"),
        ([DEMO, "--data", "scenes"], "give recordings, or"),
        ([DEMO, "--gpu", "h10"], "Did you mean h100?"),
        ([DEMO, "--tflops", "nan"], "--tflops is nan"),
        ([DEMO, "--gpu", "h100", "--tflops", "3"], "give one of them"),
        ([DEMO, "--ratio", "1"], "ratio"),
        ([DEMO, "--ratio", "0"], "prunes nothing"),
        ([DEMO, "--layer", "99"], "layer 99 is outside"),
        ([DEMO, "--dtype", "int3"], "dtype 'int3' is not known"),
        ([DEMO, "--question", " "], "--question is empty"),
        ([DEMO, "--endpoint", "nowhere"], "--endpoint 'nowhere' is no address"),
        ([DEMO, DEMO, "--endpoint", "http://here"], "one recording, and 2"),
        ([DEMO, "--endpoint-model", "x"], "is for --endpoint"),
        ([DEMO, "--timeout", "0"], "--timeout is 0"),
        (["absent.wav"], "no such audio file"),
        (["--data", "absent"], "absent"),
    ],
)
def test_what_is_refused(arguments, said):
    done = plan(*arguments)
    assert done.exit_code == 2
    assert said in done.stderr


@pytest.mark.parametrize(("heard", "code"), [(300, 0), (75, 1)])
def test_what_a_server_counts_is_said_and_decides(monkeypatch, heard, code):
    def compare(url, model, frontend, audio, question, timeout):
        return endpoint.Counted(url, heard + 57, heard, 300, 12.0, heard / 25)

    monkeypatch.setattr(command.endpoint, "compare", compare)
    done = plan(DEMO, "--endpoint", "http://localhost:8000")
    assert done.exit_code == code, done.stderr
    assert ("THE SERVER TRUNCATES" in done.stdout) == ("TRUNCATES" in done.stderr) == bool(code)


def test_text_between_audio_tokens_counts():
    class Divided:
        sample_rate, max_seconds, several_audios = 100, 30.0, True
        tokenizer = SimpleNamespace(model_max_length=500)

        def audio_tokens(self, samples):
            return samples // 10

        def inputs(self, audios, prompt, system=None):
            length = len(audios[0])
            return {"input_ids": np.zeros((1, 7 + length // 10 + 2 * (length // 500)))}

    config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(max_position_embeddings=400))
    anatomy = SimpleNamespace(
        family=SimpleNamespace(divided=True), root=SimpleNamespace(config=config)
    )
    blueprint = SimpleNamespace(frontend=Divided(), anatomy=anatomy, context=400)
    prompt = read_prompt(blueprint, "What?")
    assert weigh(blueprint, prompt, "", [25.0], 0.5).text_tokens == 7 + 10
