"""Requests as lmms-eval makes them, without lmms-eval."""

import pytest

from calibrate.evaluation.lmms_eval import answering
from calibrate.evaluation.lmms_eval.answering import Answerer
from calibrate.evaluation.lmms_eval.requests import read_request
from calibrate.evaluation.lmms_eval.settings import read_settings
from calibrate.models.named import load
from calibrate.sound.reading import load_audio
from tiny_omni import DEMO

PROMPT = "Which digits are spoken?"


@pytest.fixture(scope="session")
def speech():
    """Three recordings of different lengths, float32 at 16 kHz."""
    samples = load_audio(DEMO)
    return [samples[: 16_000 * seconds] for seconds in (4, 12, 8)]


@pytest.fixture
def asked(speech):
    """Make questions: one a document, each a list of media, all with the same settings."""

    def make(documents=None, prompt=PROMPT, **settings):
        if documents is None:
            documents = [[{"array": each, "sampling_rate": 16_000}] for each in speech]
        datasets = {"digits": {"test": documents}}
        settings = {"max_new_tokens": 6, **settings}
        return [
            read_request((prompt, settings, list, number, "digits", "test"), datasets, 4096)
            for number in range(len(documents))
        ]

    return make


@pytest.fixture(scope="session")
def tiny():
    """Load tiny-omni: unlike random weights it has something to say."""
    return load("tiny-omni", device="cpu")


@pytest.fixture
def answerer(tiny, monkeypatch):
    """Make what answers requests with tiny-omni, which is loaded only once."""
    monkeypatch.setattr(answering.named, "load", lambda name, **_: tiny)

    def make(**arguments):
        return Answerer(read_settings({"pretrained": "tiny-omni", **arguments}))

    return make
