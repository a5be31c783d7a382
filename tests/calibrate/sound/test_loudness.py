"""Loudness a token, and with it what the energy selector keeps."""

import math

import numpy as np
import pytest
import torch

from calibrate.sound.loudness import FLOOR, token_loudness
from headrouter_core import Energy, UsageError
from headrouter_core.selectors.base import View


def test_loudness_is_the_mean_power_of_each_token():
    audio = np.random.default_rng(0).normal(0, 0.1, 3000).astype(np.float32)
    found = token_loudness(audio, 4, 640.0)
    for token, (begin, end) in enumerate([(0, 640), (640, 1280), (1280, 1920), (1920, 3000)]):
        power = sum(float(x) ** 2 for x in audio[begin:end]) / (end - begin)
        assert found[token].item() == pytest.approx(10 * math.log10(power), abs=1e-4)
    assert found.dtype == torch.float32


def test_full_scale_is_zero_and_silence_is_the_floor():
    audio = np.concatenate([np.ones(640), np.zeros(640)]).astype(np.float32)
    assert token_loudness(audio, 2, 640).tolist() == [0, FLOOR]


def test_tokens_need_not_be_whole_samples_long():
    audio = np.zeros(1000, np.float32)
    audio[667:] = 1
    assert token_loudness(audio, 3, 1000 / 3).tolist() == [FLOOR, FLOOR, 0]


def test_the_loudest_tokens_are_kept():
    audio = np.full(6400, 0.01, np.float32)
    audio[1280:1920] = 0.5
    audio[5120:5760] = 0.3
    loudness = token_loudness(audio, 10, 640)
    kept = Energy([loudness])(View(10, torch.device("cpu"), 0), 2).kept
    assert kept.tolist() == [2, 8]


@pytest.mark.parametrize(
    ("shape", "tokens", "length"),
    [((1280, 2), 2, 640), ((1280,), 3, 640), ((1280,), 0, 640), ((0,), 1, 640), ((99,), 1, 0)],
)
def test_audio_that_cannot_be_so_many_tokens_is_refused(shape, tokens, length):
    with pytest.raises(UsageError, match=f"{tokens} tokens of {length} samples"):
        token_loudness(np.zeros(shape, np.float32), tokens, length)
