"""Encoders are compared by what they hand to their projection, on clips of unseen speakers."""

import numpy as np
import pytest
import torch

from small_omni import probes
from small_omni.assembly import towers
from small_omni.probes import Encoder, labelled, measure
from tiny_omni.batches import log_mel


@pytest.mark.parametrize("padded", [False, True])
def test_the_mean_is_of_what_enters_the_projection_while_the_clip_sounds(omni, padded):
    samples = labelled("calibration")["keyword"][0][0].read()
    found = Encoder(omni.model, omni.extractor, padded=padded)(samples)
    tower, _ = towers(omni.model)
    whole = np.pad(samples, (0, 480_000 - len(samples))) if padded else samples
    mel = log_mel(torch.from_numpy(whole)[None], omni.extractor)
    with torch.inference_mode():
        out = tower(mel[0], feature_lens=torch.tensor([mel.shape[-1]])).last_hidden_state
        sounding = out.flatten(0, -2)[: max(1, round(len(samples) / 640))]
        # the projection is linear: that of the mean is the mean of those
        torch.testing.assert_close(tower.proj(found), sounding.mean(0), atol=1e-4, rtol=1e-4)


def test_speakers_and_clips_of_the_test_are_others():
    train, test = labelled("train"), labelled("test")
    assert set(train) == set(test) == set(probes.TASKS.values())
    for task, rows in test.items():
        names = {clip.speaker or clip.source for clip, _ in rows}
        assert not names & {clip.speaker or clip.source for clip, _ in train[task]}, task
        assert {label for _, label in rows} <= {label for _, label in train[task]}


def test_encoders_are_told_apart(monkeypatch):
    """One that says the label, and one that says nothing."""
    parts = {split: {"keyword": labelled(split)["keyword"]} for split in ("train", "test")}
    monkeypatch.setattr(probes, "labelled", parts.get)
    noise = torch.Generator().manual_seed(0)
    labels = {c.file: label for rows in parts.values() for c, label in rows["keyword"]}
    names = sorted(set(labels.values()))

    def embedded(knows, parts):
        found = {file: torch.randn(32, generator=noise) for file in labels}
        for file, row in found.items():
            row[names.index(labels[file])] += 20 * knows
        return found

    monkeypatch.setattr(probes, "_embedded", embedded)
    found = measure({"good": True, "bad": False})
    assert found["tasks"]["keyword"] == {"train": 180, "test": 34, "classes": 6}
    for rows in found["probes"].values():
        assert rows["good"]["weighted"] > 0.9
        assert rows["bad"]["weighted"] < 0.5
        assert rows["bad"]["against"]["verdict"] == "worse"
