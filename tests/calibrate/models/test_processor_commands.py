"""What ``prune`` and ``calibrate`` do with the models of every family."""

import json
import math

import numpy as np
import pytest
import soundfile
import torch

from calibrate.commands.prune import Prune
from calibrate.estimation.bench import Bench, kept_by_frame
from calibrate.estimation.replay.parking import Parking
from calibrate.estimation.samples.sample import Sample
from calibrate.models import asking, named
from calibrate.pruning import command
from headrouter_core import Frame, prune
from headrouter_core.errors import UnsupportedModelError
from tests.calibrate.models.processors import QUESTION, each_family, noise


@each_family
def test_pruning_by_the_commands(load, name, tmp_path, monkeypatch, capsys):
    """What ``calibrate`` does with a sample, and what ``prune`` does with a recording."""
    loaded = load(name)
    audio = noise(loaded.frontend, 1.5)
    rates = []

    def read(**_):
        rates.append(16_000)
        return np.random.default_rng(0).uniform(-0.1, 0.1, 24_000).astype(np.float32)

    sample = Sample("a", "event", "acoustic", QUESTION, "a dog", "a", 0, read)
    if name == "gemma3n":
        with pytest.raises(UnsupportedModelError, match="more behind its last layer"):
            Bench(loaded, sample, 2)
    else:
        bench = Bench(loaded, sample, 2)
        assert bench.audio_tokens == loaded.frontend.audio_tokens(len(audio))
        kept = [kept_by_frame(bench.audio_tokens, 0.6)]
        (outcome,) = bench.outcomes(kept)
        with Parking(0, tmp_path) as parking:  # the same, to the last bit, where it waits on disk
            waiting = Bench(loaded, sample, 2, parking)
            waiting.encode()
            assert sample.id in parking
            assert waiting.outcomes(kept) == [outcome]
        inputs = loaded.place(loaded.frontend.inputs([audio], QUESTION))
        with prune(loaded.model, Frame(), 0.6) as trace, torch.inference_mode():
            loaded.model(**inputs)
        assert trace[0].audio_tokens == bench.audio_tokens
        assert math.isfinite(outcome.nll)

    soundfile.write(tmp_path / "a.wav", audio, loaded.frontend.sample_rate)

    def give(*_, ready, **__):
        ready(loaded.frontend)
        return loaded

    monkeypatch.setattr(named, "load", give)
    monkeypatch.setattr(asking, "RUNS", 1)
    request = Prune(
        audio=[str(tmp_path / "a.wav")],
        model=str(tmp_path),
        question=QUESTION,
        method="frame",
        max_new_tokens=3,
        as_json=True,
    )
    command.run(request)
    found = json.loads(capsys.readouterr().out)
    assert found["audio_tokens"] == loaded.frontend.audio_tokens(len(audio))
    assert found["seconds_audio"] == pytest.approx(1.5)
    assert all(0 <= begin <= end <= 1.5 for begin, end in found["kept_spans"])


@pytest.mark.parametrize("name", ["qwen2_audio", "phi4_multimodal", "gemma4", "vibevoice_asr"])
def test_calibration_in_bfloat16(checkpoints, name):
    loaded = named.load(str(checkpoints(name)), device="cpu", dtype="bfloat16")
    audio = np.random.default_rng(0).uniform(-0.1, 0.1, 24_000).astype(np.float32)
    sample = Sample("a", "event", "acoustic", QUESTION, "a dog", "a", 0, lambda **_: audio)
    bench = Bench(loaded, sample, 2)
    (outcome,) = bench.outcomes([kept_by_frame(bench.audio_tokens, 0.6)])
    assert math.isfinite(outcome.nll)


def test_a_timeline_of_padded_audio(load, tmp_path, monkeypatch, capsys):
    """Voxtral's tokens stand for 30 seconds, of which a second is audio."""
    loaded = load("voxtral")
    soundfile.write(tmp_path / "a.wav", noise(loaded.frontend, 1), 16_000)
    monkeypatch.setattr(named, "load", lambda *args, **kwargs: loaded)
    monkeypatch.setattr(asking, "RUNS", 1)
    audio = [str(tmp_path / "a.wav")]
    options = {"model": str(tmp_path), "method": "energy", "max_new_tokens": 1}
    command.run(Prune(audio=audio, ratio=0.99, **options))
    shown = capsys.readouterr().out
    assert "1.00 s, 375 audio tokens" in shown
    assert "|20s" in shown
    assert "kept: 0." in shown  # the loudest tokens are not those of the padding
