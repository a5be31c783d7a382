"""Methods that shorten the recording: as many tokens as the others keep, and vanilla on these."""

import math

import numpy as np
import pytest
import torch

from calibrate.evaluation.asking.methods import METHODS, SHORTER
from calibrate.evaluation.asking.run import Plan, _asked
from calibrate.evaluation.asking.shorter import Shortening, shortest
from calibrate.evaluation.asking.trial import Trial
from calibrate.evaluation.datasets.scenes import scenes
from calibrate.evaluation.probing.measuring import _pooled
from calibrate.models.asking import answer
from headrouter_core import scoring

RATIOS = (0.3, 0.9)


class Windows:
    """A front end whose encoder pads to windows of half a second, of 10 tokens each."""

    sample_rate, min_seconds = 16_000, 0.1

    def audio_tokens(self, samples):
        return 10 * -(-samples // 8_000)


@pytest.fixture(scope="module")
def item():
    """A scene with pauses."""
    return next(i for i in scenes(10.0, 2, "test").items if i.id == "10s/test/digits/1")


@pytest.fixture(scope="module")
def trial(loaded, item):
    return Trial(loaded, item, 2, list(METHODS.values()))


@pytest.fixture(scope="module")
def line(trial):
    methods = tuple(METHODS[name] for name in ("frame", *SHORTER))
    return _asked(trial, Plan(methods, RATIOS, 2, 0, None))


def heard(line, method, ratio):
    names = ("frame", *SHORTER)
    place = 1 + len(names) * RATIOS.index(ratio) + names.index(method)
    return line["heard"][line["replies"][place][-1]]


@pytest.mark.parametrize("ratio", RATIOS)
def test_tokens_and_seconds_are_counted(line, loaded, ratio):
    k = scoring.keep_count(250, ratio)
    assert heard(line, "frame", ratio) == [10.0, 250, k]
    seconds, tokens, kept = heard(line, "stretch", ratio)
    assert tokens == kept == k
    assert seconds == pytest.approx(k * 0.04, abs=0.04)
    _, cut, kept = heard(line, "no-silence", ratio)
    assert cut == kept < 200  # at the count that it yields
    assert heard(line, "no-silence:stretch", ratio)[1:] == [min(k, cut)] * 2
    seconds, tokens, kept = heard(line, "no-silence:stretch+frame", ratio)
    assert kept == min(k, cut)
    assert tokens == max(kept, math.ceil(cut / 1.5))
    assert loaded.frontend.audio_tokens(round(seconds * 16_000)) == tokens


@pytest.mark.parametrize("name", SHORTER)
def test_replies_are_those_to_the_shorter_recording(loaded, item, trial, line, name):
    audios = trial.shortened(METHODS[name], 0.9)
    inputs = loaded.place(loaded.frontend.inputs(audios, item.prompt))
    if METHODS[name].prunes:
        from headrouter_core import Frame, prune

        with prune(loaded.model, Frame(), keep=25, layer=2):
            wanted = answer(loaded, inputs, item.max_new_tokens)
    else:
        wanted = answer(loaded, inputs, item.max_new_tokens)
    place = 1 + (1 + len(SHORTER)) + 1 + list(SHORTER).index(name)
    text, complete, *_ = line["said"][line["replies"][place][0]]
    assert (text, complete) == (wanted.text, wanted.complete)


def test_what_sounds_the_same_is_asked_once(trial, monkeypatch):
    asked = []
    real = Trial.hearing
    monkeypatch.setattr(Trial, "hearing", lambda *a: asked.append(a) or real(*a))
    _asked(trial, Plan((METHODS["no-silence"],), (0.3, 0.6, 0.9), 2, 0, None))
    assert len(asked) == 1


def test_without_divergence_where_nothing_is_shortened(loaded, trial):
    """Shortened to all of its own tokens, a recording is itself."""
    same = METHODS["stretch"].shortening(trial.audios, loaded.frontend, 250)
    assert np.array_equal(same[0], trial.audios[0])
    everything = trial.hearing(same).everything()
    assert torch.equal(everything.kept, trial.everything().kept)


def test_several_recordings_are_played_equally_fast(loaded):
    shortening = METHODS["stretch"].shortening
    lengths = [16_000, 64_000, 32_000]
    for count in (174, 88, 21, 7, 3):
        fitted = shortening.fitting(lengths, loaded.frontend, count)
        tokens = [loaded.frontend.audio_tokens(length) for length in fitted]
        assert sum(tokens) == count
        shares = [count / 7, 4 * count / 7, 2 * count / 7]
        assert tokens == pytest.approx(shares, abs=1)


@pytest.mark.parametrize(("count", "tokens"), [(200, 200), (67, 70), (64, 60), (65, 60), (3, 10)])
def test_encoders_that_pad_get_the_nearest_count(count, tokens):
    (found,) = METHODS["stretch"].shortening.fitting([160_000], Windows(), count)
    assert Windows().audio_tokens(found) == tokens
    assert Windows().audio_tokens(min(160_000, found + 1)) > tokens or found == 160_000


def test_nothing_but_silence_stays_whole(loaded):
    silence = np.zeros(16_000, np.float32)
    (found,) = Shortening(silence=True)([silence], loaded.frontend, 5)
    assert np.array_equal(found, silence)


def test_the_shortest_that_is_heard(loaded):
    least = shortest(loaded.frontend)
    assert loaded.frontend.audio_tokens(least) == 1
    assert loaded.frontend.audio_tokens(least - 1) == 0
    assert shortest(Windows()) == 1_600


def test_probes_hear_the_shorter_recording(loaded, item, trial):
    method = METHODS["no-silence:stretch"]
    rows = _pooled(loaded, item, Plan((method,), (0.9,), 2, 0, None))
    shorter = trial.hearing(trial.shortened(method, 0.9))
    for row, heard in zip(rows, (trial, shorter), strict=True):
        assert torch.allclose(row, heard.states(heard.everything()).mean(0), atol=1e-5)
