"""Which KV heads follow speech: on attention that is known, and on tiny-omni."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from calibrate.cli import app
from calibrate.estimation.heads import following
from calibrate.estimation.heads.following import score_heads
from calibrate.estimation.heads.spoken import Spoken, Word, shipped_speech
from calibrate.models import named
from calibrate.terminal.console import STDERR
from calibrate.terminal.progress import Progress
from headrouter_core import AudioKV, families, load_profile
from headrouter_core.errors import UsageError
from headrouter_core.eviction.observing import attention_of


def invoke(*arguments):
    return CliRunner().invoke(app, ["calibrate", *map(str, arguments)])


@pytest.fixture(scope="module")
def loaded():
    return named.load("tiny-omni")


def score(loaded, recordings):
    with Progress(STDERR) as progress:
        return score_heads(loaded, recordings, progress, "here")


def test_words_of_shipped_digits_lie_where_they_sound():
    spoken = list(shipped_speech(4))
    assert len({recording.cluster for recording in spoken}) > 1
    for recording in spoken:
        samples, ends = recording.read(), [0]
        for word in recording.words:
            assert ends[-1] <= word.start < word.end <= len(samples) / 16_000
            ends.append(word.end)
        assert [w.begin for w in recording.words] == following.beginnings(recording.answer)
        loud = [samples[int(w.start * 16_000) : int(w.end * 16_000)].std() for w in recording.words]
        assert min(loud) > 0


def test_attention_of_single_queries_is_what_eager_attention_puts_out(loaded):
    recording = next(shipped_speech(1))
    inputs = loaded.place(loaded.frontend.inputs([recording.read()], recording.prompt))
    length = inputs["input_ids"].shape[1]
    found = attention_of(loaded.model, inputs, [length - 7, length - 1])
    eager = named.load("tiny-omni").model
    eager.set_attn_implementation("eager")
    with torch.no_grad():
        wanted = eager(**inputs, output_attentions=True).attentions
    for given, whole in zip(found, wanted, strict=True):
        torch.testing.assert_close(given.flatten(0, 1), whole[0][:, [length - 7, length - 1]])


def test_a_head_that_looks_at_the_word_is_worth_one(loaded, monkeypatch):
    """Head 1 of layer 2 looks at the word and 6 positions beside it, all others at the prompt."""
    recordings = list(shipped_speech(3))
    info = families.model_info(loaded.model, 2)
    shape = (info.kv_heads, info.heads // info.kv_heads)

    def attention(model, inputs, columns):
        ids = inputs["input_ids"][0]
        first = int((ids == families.locate(loaded.model).audio_ids[0]).nonzero()[0])
        words = next(in_order).words
        layers = torch.zeros(info.layers, *shape, len(columns), len(ids))
        layers[..., :6] = 1
        for index, word in enumerate(words):
            begin, end = first + int(word.start * 25), first + int(word.end * 25)
            layers[2, 1, :, index] = 0
            layers[2, 1, :, index, begin : end + 1] = 1
        return list(layers)

    in_order = iter(recordings)
    monkeypatch.setattr(following, "attention_of", attention)
    monkeypatch.setattr(following, "TOP", 6)
    found = score(loaded, recordings)
    assert found.scores[2, 1] == 1
    assert found.scores.sum() == 1
    assert found.words == sum(len(r.words) for r in recordings)


def test_scores_are_means_over_speakers_with_their_errors(loaded, monkeypatch):
    info = families.model_info(loaded.model, 2)
    values = iter([0.2, 0.4, 0.9])

    def hits(loaded, recording, trust):
        return torch.full((2, info.layers, info.kv_heads), next(values), dtype=torch.float64)

    monkeypatch.setattr(following, "_hits", hits)
    recordings = [
        Spoken(str(i), None, "", speaker, "one", (Word(0, 0, 1),))
        for i, speaker in enumerate("aab")
    ]
    found = score(loaded, recordings)
    assert found.scores[0, 0] == pytest.approx(0.6)  # speakers count alike: (0.3 + 0.9) / 2
    assert found.stderr[0, 0] == pytest.approx(0.3)
    assert found.stability is None  # maps without a pattern cannot be alike
    values = iter([0.1])
    with pytest.raises(UsageError, match="two speakers"):
        score(loaded, recordings[:1])


def test_halves_of_the_speakers_are_compared():
    pattern = torch.rand(1, 6, 2, generator=torch.Generator().manual_seed(0)).double()
    assert following._stability(pattern.expand(4, -1, -1)) == pytest.approx(1)
    opposed = torch.cat([pattern, 1 - pattern])
    assert following._stability(opposed) == pytest.approx(-1)
    assert not math.isnan(following._stability(opposed))


def test_other_models_profiles_are_refused():
    scores = torch.zeros(3, 2)
    found = following.HeadScores(scores, scores, None, 2, 2, "here")
    with pytest.raises(UsageError, match=r"\[3, 2\] layers and KV heads"):
        found.into(load_profile("tiny-omni"))


def test_the_command_adds_scores_to_the_profile(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = invoke("--heads", "--limit", 4, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    made, before = load_profile(told["output"]), load_profile("tiny-omni")
    assert made.weights.equal(before.weights)
    assert made.results == before.results
    assert made.calibration["heads"]["recordings"] == 4
    torch.testing.assert_close(made.head_scores, torch.tensor(told["scores"]))
    # what tiny-omni learnt: its last layers look at the word that they write
    assert made.head_scores[4:].min() > 2 * made.head_scores[:2].max()
    assert AudioKV(made).profile is made
    shown = CliRunner().invoke(app, ["inspect", told["output"]])
    assert "Follows speech: layers 0 to 5" in shown.output
    assert "KV head 1" in shown.output
    again = invoke("--heads", "--limit", 4)
    assert again.exit_code == 2
    assert "--force" in again.output


@pytest.mark.parametrize("option", [["--leave-one-out"], ["--stability"]])
def test_options_of_calibration_do_not_go_with_it(option):
    done = invoke("--heads", *option)
    assert done.exit_code == 2
    assert f"{option[0]} does not go with --heads" in done.output


def test_padding_to_whole_windows_is_no_part_of_a_recording(loaded, monkeypatch):
    anatomy = SimpleNamespace(audio_ids=(9,), family=SimpleNamespace(tokens_per_second=10))
    monkeypatch.setattr(following.families, "locate", lambda model: anatomy)
    recording = Spoken("x", None, "", "", "one two", (Word(0, 0, 1), Word(4, 1, 2)))
    ids = [1, 2, *[9] * 50, 3]  # 2 s are 20 tokens, and the rest is padding
    columns = following._columns(loaded, ids, 2.0)
    assert columns == list(range(2, 22))
    assert following._spans(columns, 2.0, recording) == [(2, 12), (12, 21)]
    with pytest.raises(UsageError, match=r"begins at 1 s, and the recording is 0\.50 s long"):
        following._spans(columns, 0.5, recording)


def test_words_without_times_are_found_where_they_sound(loaded):
    """Without labels, heads are told apart as with them."""
    known = list(shipped_speech(6))
    unknown = [replace(recording, words=()) for recording in known]
    maps = torch.stack([score(loaded, some).scores.flatten() for some in (known, unknown)])
    assert torch.corrcoef(maps)[0, 1] > 0.95


def test_what_was_interrupted_is_gone_on_with(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    real, calls = following._hits, []

    def hits(loaded, recording, trust):
        calls.append(recording.id)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(loaded, recording, trust)

    monkeypatch.setattr(following, "_hits", hits)
    call = ("--heads", "--limit", 4, "--json", "--output")
    assert invoke(*call, "a.safetensors").exit_code == 130
    other = invoke(*call, "a.safetensors", "--seed", 1)
    assert other.exit_code == 2
    assert "was begun with another seed, speech (seed: 0, now 1)" in other.stderr
    done = invoke(*call, "a.safetensors")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["resumed"] == 2
    assert calls[:2] + calls[3:] == [f"0/heads/{index}" for index in range(4)]
    assert invoke(*call, "b.safetensors").exit_code == 0
    first, second = sorted(tmp_path.iterdir())
    assert first.read_bytes() == second.read_bytes()
