"""The recipe: packed questions score as separate prompts, features are Whisper's, runs resume."""

import argparse

import pytest
import torch

from calibrate.models.frontends.qwen2_5_omni import Qwen25OmniFrontEnd
from tiny_omni.batches import FRAME_HEADS, IGNORE, SOUNDS, Packer, frame_labels, log_mel
from tiny_omni.clips import Bank
from tiny_omni.questions import questions
from tiny_omni.scenes import compose
from tiny_omni.train import learning_rate, train
from tiny_omni.trainee import Trainee


@pytest.fixture(scope="module")
def trainee():
    return Trainee(0).eval()


@pytest.fixture(scope="module")
def scenes():
    bank = Bank.of("calibration")
    return [compose(bank, seed, 6.0, need="digits") for seed in range(2)]


def test_features_are_those_of_the_extractor(trainee, scenes):
    batch = torch.stack([torch.from_numpy(scene.samples) for scene in scenes])
    ours = log_mel(batch, trainee.extractor)
    theirs = trainee.extractor(
        [scene.samples for scene in scenes], sampling_rate=16_000, return_tensors="pt"
    ).input_features
    torch.testing.assert_close(ours, theirs[..., : ours.shape[-1]], rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_packed_questions_score_as_separate_prompts(trainee, scenes):
    asked = [questions(scene, 0) for scene in scenes]
    packed = Packer(trainee.tokenizer)(scenes, asked)
    losses, _, _ = trainee.answers(trainee.encode(packed), packed)
    template = trainee.tokenizer.chat_template
    frontend = Qwen25OmniFrontEnd(trainee.tokenizer, trainee.extractor, template)
    # the training-only attention takes its mask from the packed batch and makes none itself
    trainee.omni.model.language_model.set_attn_implementation("sdpa")
    alone = []
    for scene, row in zip(scenes, asked, strict=True):
        for question in row:
            prompt = frontend.inputs([scene.samples], question.prompt)["input_ids"]
            inputs = frontend.inputs([scene.samples], question.prompt, answer=question.answer)
            logits = trainee.omni(**inputs).logits[0]
            end = (inputs["input_ids"][0] == trainee.tokenizer.eos_token_id).nonzero()[-1]
            ids = inputs["input_ids"][0, prompt.shape[1] : int(end) + 1]
            start = prompt.shape[1] - 1
            predicted = logits[start : start + len(ids)]
            alone.append(torch.nn.functional.cross_entropy(predicted, ids, reduction="none"))
    torch.testing.assert_close(losses, torch.cat(alone), rtol=1e-4, atol=1e-4)


def test_frame_labels_name_what_sounds(scenes):
    labels = frame_labels(scenes[0])
    assert set(labels) == {*FRAME_HEADS, "ordinal"}
    said = len(scenes[0].item("digits").clips)
    assert labels["ordinal"][labels["ordinal"] != IGNORE].unique().tolist() == list(range(said))
    first = scenes[0].item("digits").clips[0]
    middle = (first.start + first.end) // 2 // 640
    assert SOUNDS[labels["sound"][middle]] == f"digit/{first.clip.label}"
    sounding = sum(p.end - p.start for item in scenes[0].items for p in item.clips) / 640
    assert int((labels["sound"] != 0).sum()) == pytest.approx(sounding, abs=10)
    assert int((labels["emotion"] != IGNORE).sum()) <= int((labels["sound"] != 0).sum())


def test_learning_rate_warms_up_stays_and_falls():
    rates = [learning_rate(step, 100, 1100, 1e-3, 0.3) for step in range(100, 1100)]
    assert rates[0] < 1e-5
    assert rates[200] == rates[600] == 1e-3
    assert rates[-1] == pytest.approx(1e-3 / 300)
    assert max(rates) == 1e-3


@pytest.mark.slow
def test_killed_run_goes_on_as_if_never_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("tiny_omni.run.Run.report", lambda _: None)
    common = {
        "device": "cpu",
        "seed": 3,
        "pretrain": 1,
        "short": 0.5,
        "decay": 0.0,
        "rate": 1e-3,
        "batch_seconds": 18.0,
        "workers": 1,
        "print_every": 1,
        "save_every": 1,
        "validate_every": 100,
    }

    def run(name, steps):
        folder = tmp_path / name
        train(argparse.Namespace(**common, steps=steps, work=folder, output=folder / "model"))
        return torch.load(folder / "checkpoint.pt", weights_only=True)

    whole = run("whole", 3)
    run("killed", 2)
    resumed = run("killed", 3)
    assert resumed["state"]["step"] == whole["state"]["step"] == 4
    for name, tensor in whole["trainee"].items():
        assert torch.equal(tensor, resumed["trainee"][name]), name
