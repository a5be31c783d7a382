"""What is measured of a trained model, on the small random one."""

import pytest
import torch

from calibrate.models.named import load
from small_omni import evaluate


@pytest.fixture
def loaded(omni, tmp_path):
    omni.save(tmp_path / "small")
    return load(str(tmp_path / "small"), device="cpu")


@pytest.fixture
def unfetched(random_parts, monkeypatch):
    monkeypatch.setattr(evaluate, "fetch_parts", lambda folder: None)
    monkeypatch.setattr(evaluate, "read_parts", lambda folder: random_parts)


def test_untrained_model_has_not_drifted(loaded, unfetched, tmp_path, monkeypatch):
    short = tmp_path / "prompts.txt"
    short.write_text("What is a noun?\nTell me a joke.\n")
    monkeypatch.setattr(evaluate, "PROMPTS", short)
    found = evaluate.text_drift(loaded, tmp_path)
    assert found == {"prompts": 2, "kl": 0.0, "same first line": 1.0}
    with torch.no_grad():
        loaded.model.lm_head.weight.mul_(1.5)
    assert evaluate.text_drift(loaded, tmp_path)["kl"] > 0


def test_prompts_are_a_hundred_and_not_trained_on():
    from small_omni.recipe.texts import prompts

    lines = evaluate.PROMPTS.read_text("utf-8").splitlines()
    assert len(lines) == len(set(lines)) == 100
    assert not set(lines) & set(prompts(300))


def test_transcripts_are_counted_in_words(loaded, monkeypatch):
    heard = {}

    def answer(loaded, audios, prompts, longest):
        return [heard.setdefault(len(heard), "Nothing.") for _ in audios]

    monkeypatch.setattr(evaluate, "answer", answer)
    found = evaluate.transcription(loaded, "test")
    assert found["sentences"] == 24
    assert found["war"] == pytest.approx(0, abs=0.01)
    low, high = found["interval"]
    assert low <= found["war"] <= high


def test_choices_are_read_as_letters(loaded, monkeypatch):
    monkeypatch.setattr(evaluate, "answer", lambda loaded, audios, prompts: ["A"] * len(audios))
    found = evaluate.choices(loaded, "calibration", 6.0, 8)
    assert found["parsed"] == 1.0
    for row in found["tasks"].values():
        assert 0 <= row["accuracy"] < 1
    monkeypatch.setattr(evaluate, "answer", lambda loaded, audios, prompts: ["?"] * len(audios))
    assert evaluate.choices(loaded, "calibration", 6.0, 2)["parsed"] == 0


def test_ratio_interval_resamples_whole_clusters():
    import numpy as np

    wrong, words = np.array([0.0, 0.0, 10.0, 10.0]), np.full(4, 10.0)
    low, high = evaluate._ratio_interval(wrong, words, ["a", "a", "b", "b"])
    assert (low, high) == (0.0, 1.0)
