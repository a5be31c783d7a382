import importlib.util
import json
import shutil

import numpy as np
import pytest
import torch

from calibrate.models.frontends.base import FrontEnd
from calibrate.models.frontends.loading import BLIND
from calibrate.terminal.errors import AudioError, ModelError
from headrouter_core.errors import UnsupportedModelError, UsageError
from tests.calibrate.helpers import spoiled
from tiny_omni.questions import corpus

QUESTION = "Which digits are spoken?"


def noise(samples, seed=0):
    return np.random.default_rng(seed).uniform(-0.1, 0.1, samples).astype(np.float32)


@pytest.fixture(scope="module")
def frontend(thinker):
    return FrontEnd.from_pretrained(thinker)


def processor(frontend):
    """transformers' own processor; its code runs with audio although it has no eyes."""
    from transformers import Qwen2_5OmniProcessor

    class Blind(Qwen2_5OmniProcessor):
        image_processor = video_processor = BLIND
        audio_tokenizer = None

        def __init__(self, extractor, tokenizer, template):
            self.feature_extractor, self.tokenizer = extractor, tokenizer
            self.chat_template = template
            for kind in ("image", "audio", "video"):
                for name in (f"{kind}_token", f"{kind}_token_id"):
                    setattr(self, name, getattr(tokenizer, name))

    return Blind(frontend.extractor, frontend.tokenizer, frontend.chat_template)


def processed(processor, audios, prompt, system=None):
    content = [{"type": "audio"} for _ in audios] + [{"type": "text", "text": prompt}]
    messages = [{"role": "user", "content": content}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return processor(text=text, audio=audios, sampling_rate=16_000, return_tensors="pt")


CASES = [
    ([noise(112_013)], QUESTION, None),
    ([noise(480_000)], "Name the background.", None),
    ([noise(16_000), noise(5_000, 1), noise(321, 2)], "你好, what's 'this'?\n\n  x", None),
    ([noise(40_000)], QUESTION, "Answer in one word."),
]


@pytest.mark.parametrize(("audios", "prompt", "system"), CASES)
def test_inputs_are_those_of_transformers_processor(frontend, audios, prompt, system):
    theirs = processed(processor(frontend), audios, prompt, system)
    ours = frontend.inputs(audios, prompt, system)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert value.dtype == theirs[name].dtype
        assert torch.equal(value, theirs[name]), name


@pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is None, reason="Qwen2_5OmniProcessor needs torchvision"
)
def test_inputs_are_those_of_a_whole_processor(frontend):
    from transformers import Qwen2_5OmniProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    whole = Qwen2_5OmniProcessor(
        Qwen2VLImageProcessor(),
        Qwen2VLVideoProcessor(),
        frontend.extractor,
        frontend.tokenizer,
        chat_template=frontend.chat_template,
    )
    theirs = processed(whole, [noise(40_000)], QUESTION)
    ours = frontend.inputs([noise(40_000)], QUESTION)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("samples", [321, 640, 641, 959, 32_000, 32_001, 32_161, 100_003, 480_000])
def test_audio_tokens_are_what_the_encoder_makes(frontend, loaded, samples):
    inputs = frontend.inputs([noise(samples)], QUESTION)
    with torch.inference_mode():
        encoded = loaded.model.get_audio_features(
            inputs["input_features"], inputs["feature_attention_mask"]
        ).last_hidden_state
    assert len(encoded) == frontend.audio_tokens(samples)
    placeholders = inputs["input_ids"] == frontend.tokenizer.audio_token_id
    assert placeholders.sum() == frontend.audio_tokens(samples)


def test_a_second_is_25_tokens(frontend):
    assert frontend.audio_tokens(16_000) == 25
    assert frontend.seconds_per_token == 0.04
    assert frontend.max_seconds == 30


def test_the_answer_comes_behind_the_same_prompt(frontend):
    prompt = frontend.inputs([noise(16_000)], QUESTION)["input_ids"][0]
    whole = frontend.inputs([noise(16_000)], QUESTION, answer="one two")["input_ids"][0]
    assert torch.equal(whole[: len(prompt)], prompt)
    expected = [*frontend.tokenizer("one two")["input_ids"], frontend.tokenizer.eos_token_id]
    assert whole[len(prompt) :].tolist() == expected
    assert frontend.decode(whole[len(prompt) :]) == "one two"


def test_a_batch_is_padded_on_the_left_and_answers_as_its_rows(frontend, loaded):
    rows = [
        frontend.inputs([noise(16_000)], QUESTION),
        frontend.inputs([noise(48_000, 1), noise(9_000, 2)], "Name the background."),
    ]
    batch = frontend.batch(rows)
    assert batch["input_features"].shape[0] == 3
    pads = batch["input_ids"].shape[1] - rows[0]["input_ids"].shape[1]
    assert batch["attention_mask"][0].tolist() == [0] * pads + [1] * (
        batch["input_ids"].shape[1] - pads
    )
    assert set(batch["input_ids"][0, :pads].tolist()) == {frontend.tokenizer.pad_token_id}
    with torch.inference_mode():
        together = loaded.model(**batch).logits[:, -1]
        alone = torch.cat([loaded.model(**row).logits[:, -1] for row in rows])
    assert torch.allclose(together, alone, atol=1e-4)


def test_nothing_to_batch(frontend):
    with pytest.raises(UsageError, match="nothing to batch"):
        frontend.batch([])


def test_audio_that_is_too_long_is_refused_not_cut(frontend):
    frontend.inputs([noise(480_000)], QUESTION)
    with pytest.raises(AudioError, match=r"480001 samples.*at most 30 s; cut it"):
        frontend.inputs([noise(480_001)], QUESTION)


def test_audio_that_is_too_short(frontend):
    with pytest.raises(AudioError, match="20 ms long, too short"):
        frontend.inputs([noise(320)], QUESTION)


def test_audio_that_is_not_mono(frontend):
    with pytest.raises(AudioError, match=r"shape \(16000, 2\)"):
        frontend.inputs([np.zeros((16_000, 2), np.float32)], QUESTION)


@pytest.mark.parametrize("token", ["<|AUDIO|>", "<|im_end|>", "<|audio_eos|>", "<|IMAGE|>"])
def test_control_tokens_in_texts_are_refused(frontend, token):
    for texts in (
        {"prompt": f"What is {token}?"},
        {"prompt": QUESTION, "system": token},
        {"prompt": QUESTION, "answer": f"one{token}"},
    ):
        with pytest.raises(UsageError, match="control token"):
            frontend.inputs([noise(16_000)], **texts)


@pytest.mark.parametrize("half", [chr(0xDCFF), chr(0xD83D)])
def test_halves_of_characters_in_texts_are_refused(frontend, half):
    for texts in (
        {"prompt": f"What is {half}?"},
        {"prompt": QUESTION, "system": half},
        {"prompt": QUESTION, "answer": f"one{half}"},
    ):
        with pytest.raises(UsageError, match=r"holds '\\ud\w+', which is no character"):
            frontend.inputs([noise(16_000)], **texts)


@pytest.mark.parametrize(("audios", "prompt"), [([], QUESTION), ([noise(16_000)], "  ")])
def test_a_question_needs_audio_and_text(frontend, audios, prompt):
    with pytest.raises(UsageError, match="needs an audio and a text"):
        frontend.inputs(audios, prompt)


def test_a_prompt_beyond_the_models_context(frontend):
    with pytest.raises(UsageError, match="at most 2048; shorten"):
        frontend.inputs([noise(16_000)], "one two " * 2_000)


def test_a_count_that_does_not_fit_is_an_error(frontend, monkeypatch):
    monkeypatch.setattr(frontend, "audio_tokens", lambda samples: 3)
    with pytest.raises(ModelError, match=r"should become 3 audio tokens.*make 25"):
        frontend.inputs([noise(16_000)], QUESTION)


def test_the_tokenizer_survives_saving(frontend):
    from tiny_omni.architecture import make_tokenizer

    made = make_tokenizer(corpus())
    for text in (QUESTION, "das schwarze stück", "你好 \n\n it's 1234"):
        assert frontend.tokenizer(text)["input_ids"] == made(text)["input_ids"]


def test_the_older_template_file_comes_first(thinker, full_omni, tmp_path):
    folder = spoiled(full_omni, tmp_path)
    template = (thinker / "chat_template.jinja").read_text()
    other = json.dumps({"chat_template": template.replace("helpful", "terse")})
    (folder / "chat_template.json").write_text(other)
    shutil.copy(thinker / "chat_template.jinja", folder)
    frontend = FrontEnd.from_pretrained(folder)
    ids = frontend.inputs([noise(16_000)], QUESTION)["input_ids"][0]
    assert "terse assistant" in frontend.tokenizer.decode(ids)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", None, "no config.json"),
        ("config.json", "{", "config.json cannot be read"),
        ("config.json", "[]", "not a JSON object"),
        ("preprocessor_config.json", None, "lacks a readable tokenizer or feature extractor"),
        ("chat_template.jinja", None, "no chat template"),
        ("chat_template.json", "{}", "chat_template.json cannot be read"),
    ],
)
def test_a_front_end_that_lacks_a_part(thinker, tmp_path, file, content, message):
    folder = spoiled(thinker, tmp_path)
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(content)
    with pytest.raises(ModelError, match=message):
        FrontEnd.from_pretrained(folder)


def test_a_template_without_audio(thinker, tmp_path):
    folder = spoiled(thinker, tmp_path)
    (folder / "chat_template.jinja").write_text("{{ messages[0]['role'] }}")
    with pytest.raises(ModelError, match="0 audio placeholders for 1 audios"):
        FrontEnd.from_pretrained(folder).inputs([noise(16_000)], QUESTION)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("whisper", ": it is an encoder-decoder, .*"),
        ("nemotron_h_omni", ": it has layers of type linear_attention, .*"),
        ("csm", ""),
        ("of tomorrow", ""),
    ],
)
def test_another_kind_of_model(tmp_path, kind, reason):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(UnsupportedModelError, match=rf"'{kind}'{reason}; known are .*qwen2_5_omni"):
        FrontEnd.from_pretrained(tmp_path)
