"""Inputs of every family, made by its real processor and taken by its real (tiny) encoder."""

import math

import numpy as np
import pytest
import torch

from calibrate.estimation.bench import Bench
from calibrate.estimation.samples.sample import Sample
from calibrate.terminal.errors import AudioError, ModelError
from headrouter_core.errors import UsageError
from headrouter_core.families import FAMILIES
from tests.calibrate.models.processors import NAMES, QUESTION, each_family, noise

#: Their encoders see the padding of a batch, also of one that their own processors made.
UNMASKED = {"granite_speech", "granite_speech_plus", "fun_asr_nano", "phi4_multimodal"}
#: Their processors cut audio that is longer than this.
CUTTING = {"qwen2_audio": 2, "audioflamingo3": 6, "musicflamingo": 6, "glmasr": 6, "gemma4": 30}
#: Whatever the audio, or its windows, so many tokens.
CONSTANT = {"gemma3n": 188, "voxtral": 375}
#: They do not compare what their encoder, called so, makes with the placeholders.
UNCHECKED = {
    "vibevoice_asr": ("input_values", "padding_mask"),
    "qwen3_omni_moe": ("input_features", "feature_attention_mask"),
}
ONE_AUDIO = {"audioflamingo3", "musicflamingo", "glmasr", "qwen3_asr", "fun_asr_nano"}


def encoded(output):
    """Return how many embeddings the encoder made of each audio."""
    states = output.pooler_output if "pooler_output" in output else output.last_hidden_state
    return [part.shape[-2] for part in (states if isinstance(states, tuple | list) else [states])]


@each_family
@torch.inference_mode()
def test_the_encoder_makes_as_many_tokens_as_expected(load, name):
    """A model takes no features that are more than its placeholders, nor fewer."""
    loaded = load(name)
    frontend = loaded.frontend
    shortest = math.ceil(frontend.min_seconds * frontend.sample_rate)
    for samples in (shortest, shortest + 7, 16_001, 31_840, 32_000):
        audio = noise(frontend, samples / frontend.sample_rate)
        inputs = frontend.inputs([audio], QUESTION)
        found = int((inputs["input_ids"] == frontend.audio_token_id).sum())
        assert found == frontend.audio_tokens(samples), samples
        loaded.model(**loaded.place(inputs), use_cache=False)
        if name in UNCHECKED:
            given = {key: inputs[key] for key in UNCHECKED[name]}
            assert sum(encoded(loaded.model.get_audio_features(**given))) == found
    if name in UNCHECKED:
        return
    column = (inputs["input_ids"][0] == frontend.audio_token_id).nonzero()[-1]
    inputs["input_ids"][0, column] = 10
    with pytest.raises((ValueError, RuntimeError)):
        loaded.model(**loaded.place(inputs), use_cache=False)


@each_family
def test_a_second_is_as_many_tokens_as_the_family_says(load, name):
    frontend = load(name).frontend
    (family,) = [family for family in FAMILIES if name in family.model_types]
    rate = family.tokens_per_second
    assert frontend.seconds_per_token == pytest.approx(1 / rate)
    if name in CONSTANT:
        assert frontend.audio_tokens(1) == frontend.audio_tokens(480_000) == CONSTANT[name]
        return
    longer, shorter = (frontend.audio_tokens(n * frontend.sample_rate) for n in (90, 30))
    assert (longer - shorter) / 60 == pytest.approx(rate, abs=0.02)


@each_family
def test_the_answer_comes_behind_the_same_prompt(load, name):
    frontend = load(name).frontend
    audio = noise(frontend, 1)
    prompt, whole = (
        frontend.inputs([audio], QUESTION, answer=answer) for answer in (None, "a dog")
    )
    length = prompt["input_ids"].shape[1]
    assert torch.equal(whole["input_ids"][:, :length], prompt["input_ids"])
    answer = whole["input_ids"][0, length:]
    assert answer[-1] == frontend.end_id
    assert frontend.tokenizer.decode(answer[:-1]) == frontend.answer_start + "a dog"
    assert frontend.decode(answer).endswith("a dog")
    assert QUESTION in frontend.tokenizer.decode(prompt["input_ids"][0])
    assert whole["attention_mask"].all()
    for key, value in whole.items():
        if key in ("attention_mask", "mm_token_type_ids", "token_type_ids"):
            assert value.shape == whole["input_ids"].shape
        elif key != "input_ids":
            assert torch.equal(value, prompt[key])


@each_family
@torch.inference_mode()
def test_a_batch_is_padded_on_the_left_and_answers_as_its_rows(load, name):
    loaded = load(name)
    frontend = loaded.frontend
    rows = [
        frontend.inputs([noise(frontend, 1)], QUESTION),
        frontend.inputs([noise(frontend, 1.7, 1)], "What is it, and who said so?"),
    ]
    batch = frontend.batch(rows)
    assert batch["attention_mask"][:, -1].all()
    assert not batch["attention_mask"][0, 0]
    together = loaded.model(**loaded.place(batch)).logits[:, -1]
    alone = torch.cat([loaded.model(**loaded.place(row)).logits[:, -1] for row in rows])
    if name in UNMASKED:
        together, alone = together[1:], alone[1:]
    assert torch.allclose(together, alone, atol=1e-4)


@each_family
@torch.inference_mode()
def test_several_audios(load, name):
    loaded = load(name)
    frontend = loaded.frontend
    audios = [noise(frontend, 1.003), noise(frontend, 0.7049, 1), noise(frontend, 1.5, 2)]
    if name in ONE_AUDIO:
        with pytest.raises(UsageError, match="3 audios in one conversation, and this model takes"):
            frontend.inputs(audios, QUESTION)
        return
    inputs = frontend.inputs(audios, QUESTION)
    loaded.model(**loaded.place(inputs), use_cache=False)


@pytest.mark.parametrize("name", CUTTING)
def test_audio_that_the_processor_would_cut(load, name, monkeypatch):
    frontend = load(name).frontend
    assert frontend.max_seconds == CUTTING[name]
    audio = noise(frontend, CUTTING[name] + 0.5)
    with pytest.raises(AudioError, match=f"takes at most {CUTTING[name]} s; cut it"):
        frontend.inputs([audio], QUESTION)
    monkeypatch.setattr(frontend, "max_seconds", math.inf)
    with pytest.raises(ModelError, match=r"should become \d+ audio tokens.* it cut or stretched"):
        frontend.inputs([audio], QUESTION)


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(CUTTING) - {"gemma3n"}))
def test_audio_that_no_processor_cuts(load, name):
    frontend = load(name).frontend
    assert frontend.max_seconds == math.inf
    audio = noise(frontend, 31)
    made = frontend.converse([audio], QUESTION, None)
    found = int((made["input_ids"] == frontend.audio_token_id).sum())
    assert found == frontend.audio_tokens(len(audio))


def test_gemma3n_takes_30_seconds(load):
    frontend = load("gemma3n").frontend
    with pytest.raises(AudioError, match="takes at most 30 s"):
        frontend.inputs([noise(frontend, 30.01)], QUESTION)


def test_samples_are_brought_to_the_models_rate(load):
    """A tone of 400 Hz is one of 400 Hz at 24 kHz too."""
    loaded = load("muse_spark")
    heard = []
    frontend = loaded.frontend
    tone = np.sin(2 * np.pi * 400 * np.arange(16_000) / 16_000).astype(np.float32)
    sample = Sample("a", "event", "acoustic", QUESTION, "a dog", "a", 0, lambda **_: tone)
    converse = frontend.converse
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frontend, "converse", lambda a, *b: (heard.append(a[0]), converse(a, *b))[1])
        Bench(loaded, sample, 2)
    assert len(heard[0]) == frontend.sample_rate == 24_000
    assert np.abs(np.fft.rfft(heard[0])).argmax() == 400
