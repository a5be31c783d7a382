"""Every form in which tasks hand over audio gives the same samples, and nothing else passes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from calibrate.evaluation.lmms_eval.audio import read_audio
from calibrate.sound.reading import load_audio
from calibrate.terminal.errors import AudioError
from headrouter_core.errors import UsageError

RATE = 16_000


@pytest.fixture
def tone():
    return (0.5 * np.sin(np.arange(RATE) / 9)).astype(np.float32)


class Decoder:
    """What ``datasets`` gives from version 4 on: torchcodec's samples are [channels, n]."""

    def __init__(self, samples):
        self._samples = samples

    def get_all_samples(self):
        return SimpleNamespace(data=torch.from_numpy(self._samples), sample_rate=RATE)


@pytest.mark.parametrize(
    "form",
    [
        lambda x: {"array": x, "sampling_rate": RATE},
        lambda x: {"array": x.astype(np.float64), "sampling_rate": np.int64(RATE), "path": "a.wav"},
        lambda x: {"array": x.tolist(), "sampling_rate": RATE},
        lambda x: {"array": np.stack([x + 0.1, x - 0.1]), "sampling_rate": RATE},
        lambda x: {"array": np.stack([x + 0.1, x - 0.1], 1), "sampling_rate": RATE},
        lambda x: {"array": torch.from_numpy(x), "sampling_rate": RATE},
        lambda x: Decoder(x[None]),
    ],
    ids=["array", "float64", "list", "channels first", "channels last", "tensor", "decoder"],
)
def test_samples(form, tone):
    given = read_audio(form(tone), RATE)
    assert given.dtype == np.float32
    np.testing.assert_allclose(given, tone, atol=1e-6)


def test_integers_are_scaled(tone):
    given = {"array": np.round(tone * 2**15).astype(np.int16), "sampling_rate": RATE}
    np.testing.assert_allclose(read_audio(given, RATE), tone, atol=2**-15)


def test_rates_are_matched(tone):
    assert len(read_audio({"array": tone, "sampling_rate": 8_000}, RATE)) == 2 * RATE


@pytest.mark.parametrize(
    "form",
    [
        str,
        lambda p: p,
        lambda p: {"path": str(p), "bytes": None},
        lambda p: {"bytes": p.read_bytes()},
    ],
    ids=["text", "path", "mapping with path", "mapping with bytes"],
)
def test_files(form, recordings):
    for path in recordings.values():
        np.testing.assert_array_equal(read_audio(form(path), RATE), load_audio(path))


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        (object(), UsageError, "a object"),
        ({"image": 1}, UsageError, "a mapping with image"),
        ({}, UsageError, "nothing in it"),
        ("nowhere.wav", AudioError, "nowhere.wav: no such audio file"),
        ({"array": np.ones(9)}, AudioError, "sampling_rate is None"),
        ({"array": np.ones(9), "sampling_rate": 0}, AudioError, "sampling_rate is 0"),
        ({"array": [], "sampling_rate": RATE}, AudioError, "shape [0]"),
        ({"array": np.ones((2, 2, 2)), "sampling_rate": RATE}, AudioError, "shape [2, 2, 2]"),
        ({"array": np.ones(9, dtype=np.uint8), "sampling_rate": RATE}, AudioError, "holds uint8"),
        ({"array": [0.0, np.nan], "sampling_rate": RATE}, AudioError, "NaN"),
        ({"bytes": b"RIFF, not really"}, AudioError, "not audio"),
    ],
)
def test_anything_else_is_refused(given, error, says):
    with pytest.raises(error) as caught:
        read_audio(given, RATE)
    assert says in str(caught.value)
