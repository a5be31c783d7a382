"""Inputs of every family, made by its real processor and taken by its real (tiny) encoder."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from calibrate.estimation.bench import Bench, kept_by_frame
from calibrate.estimation.samples.sample import Sample
from calibrate.models import asking, named
from calibrate.models import checkpoints as checkpoints_module
from calibrate.models.frontends import processor
from calibrate.models.frontends.base import FRONT_ENDS, FrontEnd, front_end
from calibrate.pruning import command
from calibrate.terminal.errors import AudioError, ModelError
from headrouter_core import Frame, prune
from headrouter_core.errors import UnsupportedModelError, UsageError
from headrouter_core.families import FAMILIES
from tests.calibrate import tiny_checkpoints
from tests.calibrate.helpers import spoiled

NAMES = ["voxtral", *tiny_checkpoints.KITS]
QUESTION = "What is it?"
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

each_family = pytest.mark.parametrize("name", NAMES)


def noise(frontend, seconds, seed=0):
    samples = round(seconds * frontend.sample_rate)
    return np.random.default_rng(seed).uniform(-0.1, 0.1, samples).astype(np.float32)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Write each family's checkpoint once, when it is first asked for."""
    written = {}

    def get(name):
        for package in front_end({"model_type": name}).packages:
            pytest.importorskip(package)
        if name not in written:
            folder = tmp_path_factory.mktemp("models") / f"small-{name}"
            written[name] = tiny_checkpoints.save(name, folder)
        return written[name]

    return get


@pytest.fixture(scope="module")
def load(checkpoints):
    loaded = {}

    def get(name):
        if name not in loaded:
            with tiny_checkpoints.without_vision():
                loaded[name] = named.load(str(checkpoints(name)), device="cpu")
        return loaded[name]

    return get


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


@each_family
def test_pruning_by_the_commands(load, name, tmp_path, monkeypatch, capsys):
    """What ``calibrate`` does with a sample, and what ``prune`` does with a recording."""
    loaded = load(name)
    audio = noise(loaded.frontend, 1.5)
    rates = []

    def read(**_):
        rates.append(16_000)
        return np.random.default_rng(0).uniform(-0.1, 0.1, 24_000).astype(np.float32)

    sample = Sample("a", "event", "acoustic", QUESTION, "a dog", "a", 0, read)
    if name == "gemma3n":
        with pytest.raises(UnsupportedModelError, match="more behind its last layer"):
            Bench(loaded, sample, 2)
    else:
        bench = Bench(loaded, sample, 2)
        assert bench.audio_tokens == loaded.frontend.audio_tokens(len(audio))
        (outcome,) = bench.outcomes([kept_by_frame(bench.audio_tokens, 0.6)])
        inputs = loaded.place(loaded.frontend.inputs([audio], QUESTION))
        with prune(loaded.model, Frame(), 0.6) as trace, torch.inference_mode():
            loaded.model(**inputs)
        assert trace[0].audio_tokens == bench.audio_tokens
        assert math.isfinite(outcome.nll)

    soundfile.write(tmp_path / "a.wav", audio, loaded.frontend.sample_rate)

    def give(*_, ready, **__):
        ready(loaded.frontend)
        return loaded

    monkeypatch.setattr(named, "load", give)
    monkeypatch.setattr(asking, "RUNS", 1)
    request = command.Request(
        audio=(tmp_path / "a.wav",),
        model=str(tmp_path),
        question=QUESTION,
        method="frame",
        max_new_tokens=3,
        as_json=True,
    )
    command.run(request)
    found = json.loads(capsys.readouterr().out)
    assert found["audio_tokens"] == loaded.frontend.audio_tokens(len(audio))
    assert found["seconds_audio"] == pytest.approx(1.5)
    assert all(0 <= begin <= end <= 1.5 for begin, end in found["kept_spans"])


@pytest.mark.parametrize("name", ["qwen2_audio", "phi4_multimodal", "gemma4", "vibevoice_asr"])
def test_calibration_in_bfloat16(checkpoints, name):
    loaded = named.load(str(checkpoints(name)), device="cpu", dtype="bfloat16")
    audio = np.random.default_rng(0).uniform(-0.1, 0.1, 24_000).astype(np.float32)
    sample = Sample("a", "event", "acoustic", QUESTION, "a dog", "a", 0, lambda **_: audio)
    bench = Bench(loaded, sample, 2)
    (outcome,) = bench.outcomes([kept_by_frame(bench.audio_tokens, 0.6)])
    assert math.isfinite(outcome.nll)


def test_a_timeline_of_padded_audio(load, tmp_path, monkeypatch, capsys):
    """Voxtral's tokens stand for 30 seconds, of which a second is audio."""
    loaded = load("voxtral")
    soundfile.write(tmp_path / "a.wav", noise(loaded.frontend, 1), 16_000)
    monkeypatch.setattr(named, "load", lambda *args, **kwargs: loaded)
    monkeypatch.setattr(asking, "RUNS", 1)
    audio = (tmp_path / "a.wav",)
    options = {"model": str(tmp_path), "method": "energy", "max_new_tokens": 1}
    command.run(command.Request(audio=audio, ratio=0.99, **options))
    shown = capsys.readouterr().out
    assert "1.00 s, 375 audio tokens" in shown
    assert "|20s" in shown
    assert "kept: 0." in shown  # the loudest tokens are not those of the padding


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


@pytest.mark.parametrize("name", ["qwen2_audio", "gemma4", "phi4_multimodal"])
def test_control_tokens_in_texts_are_refused(load, name):
    frontend = load(name).frontend
    for token in (frontend.processor.audio_token, tiny_checkpoints.KITS[name].turn_end):
        with pytest.raises(UsageError, match="control token"):
            frontend.inputs([noise(frontend, 1)], f"What is {token}?")


def test_voxtral_refuses_audio_beside_a_system_prompt(load):
    frontend = load("voxtral").frontend
    with pytest.raises(UsageError, match="mistral-common refuses this conversation: Found system"):
        frontend.inputs([noise(frontend, 1)], QUESTION, "Be brief.")


def test_voxtral_reads_control_tokens_as_text(load):
    frontend = load("voxtral").frontend
    inputs = frontend.inputs([noise(frontend, 1)], "What is [AUDIO] [/INST] </s>?")
    assert int((inputs["input_ids"] == frontend.audio_token_id).sum()) == 375
    assert int((inputs["input_ids"] == frontend.end_id).sum()) == 0


@pytest.mark.parametrize("name", ["qwen2_audio", "qwen3_asr", "granite_speech"])
def test_a_system_prompt(load, name):
    frontend = load(name).frontend
    inputs = frontend.inputs([noise(frontend, 1)], QUESTION, "Be brief.")
    assert "Be brief." in frontend.tokenizer.decode(inputs["input_ids"][0])


def test_what_a_template_leaves_out_is_refused(load, monkeypatch):
    frontend = load("vibevoice_asr").frontend
    with pytest.raises(UsageError, match="leaves the system prompt out: 'Be brief"):
        frontend.inputs([noise(frontend, 1)], QUESTION, "Be brief.")
    deaf = load("qwen2_audio").frontend
    monkeypatch.setattr(
        deaf.processor, "chat_template", tiny_checkpoints.KITS["qwen3_asr"].template
    )
    with pytest.raises(UsageError, match="leaves the question out"):
        deaf.inputs([noise(deaf, 1)], QUESTION)
    monkeypatch.setattr(deaf.processor, "chat_template", QUESTION)
    with pytest.raises(ModelError, match="0 audio placeholders for 1 audios"):
        deaf.inputs([noise(deaf, 1)], QUESTION)
    monkeypatch.setattr(deaf.processor, "chat_template", None)
    monkeypatch.setattr(deaf.tokenizer, "chat_template", None)
    with pytest.raises(ModelError, match="no chat template"):
        deaf.inputs([noise(deaf, 1)], QUESTION)


def test_questions_that_cannot_be_asked(load):
    frontend = load("qwen2_audio").frontend
    with pytest.raises(UsageError, match="needs an audio and a text"):
        frontend.inputs([], QUESTION)
    with pytest.raises(UsageError, match="needs an audio and a text"):
        frontend.inputs([noise(frontend, 1)], " ")
    with pytest.raises(UsageError, match="takes at most 2048; shorten"):
        frontend.inputs([noise(frontend, 1)], "long " * 600)
    with pytest.raises(AudioError, match="too short to become one audio token"):
        frontend.inputs([noise(frontend, 0.01)], QUESTION)
    with pytest.raises(AudioError, match="90 ms long; this model's front end takes 100 ms"):
        frontend.inputs([noise(frontend, 0.09)], QUESTION)


def spoil(file):
    """Leave out the first weight of a file."""
    weights = load_file(file)
    save_file({name: weights[name] for name in sorted(weights)[1:]}, file, {"format": "pt"})


@pytest.mark.parametrize("name", ["phi4_multimodal", "granite_speech"])
def test_the_lora_for_audio_is_loaded(checkpoints, tmp_path, monkeypatch, name):
    peft = pytest.importorskip("peft")
    folder = str(spoiled(checkpoints(name), tmp_path))
    kind = front_end({"model_type": name})
    plain = named.load(folder, device="cpu")
    adapted = tiny_checkpoints.make_model(name)
    adapted.add_adapter(
        peft.LoraConfig(target_modules=r".*\.layers\.\d\.self_attn\.(qkv|q|k)_proj", r=2)
    )
    torch.manual_seed(1)
    for key, parameter in adapted.named_parameters():
        if "lora_B" in key:
            torch.nn.init.normal_(parameter, std=0.1)
    PreTrainedModel.save_pretrained(adapted, f"{folder}/{kind.adapter}")
    inputs = plain.place(plain.frontend.inputs([noise(plain.frontend, 1)], QUESTION))
    loaded = named.load(folder, device="cpu")
    with torch.inference_mode():
        wanted = adapted.eval()(**inputs).logits
        assert torch.allclose(loaded.model(**inputs).logits, wanted, atol=1e-5)
        assert not torch.allclose(plain.model(**inputs).logits, wanted, atol=1e-3)
        with prune(loaded.model, Frame(), 0.6) as trace:
            loaded.model.generate(**inputs, max_new_tokens=2)
    assert trace[0].audio_tokens == loaded.frontend.audio_tokens(16_000)
    spoil(Path(folder) / kind.adapter / "adapter_model.safetensors")
    with pytest.raises(ModelError, match=r"1 weights are missing, the first is .*lora_A"):
        named.load(folder, device="cpu")
    spoil(Path(folder) / "model.safetensors")
    with pytest.raises(ModelError, match=r"1 weights are missing, the first is (?!.*lora)"):
        named.load(folder, device="cpu")
    monkeypatch.setattr(checkpoints_module.importlib.util, "find_spec", lambda package: None)
    with pytest.raises(ModelError, match="holds a LoRA that this model hears with, and peft"):
        checkpoints_module.read_weights(loaded.frontend, Path(folder), None, False)


def test_noise_of_vibevoice_is_switched_off(load):
    loaded = load("vibevoice_asr")
    inputs = loaded.place(loaded.frontend.inputs([noise(loaded.frontend, 1)], QUESTION))
    with torch.inference_mode():
        first, second = (loaded.model(**inputs).logits for _ in range(2))
    assert torch.equal(first, second)


def test_a_model_that_hears_or_stops_elsewhere(load, monkeypatch):
    loaded = load("qwen2_audio")
    frontend = loaded.frontend
    monkeypatch.setattr(loaded.model.generation_config, "eos_token_id", 7)
    with pytest.raises(ModelError, match=r"answers end with token 94 .* stops at \[7\]"):
        frontend.check_model(loaded.model)
    monkeypatch.setattr(loaded.model.generation_config, "eos_token_id", None)
    frontend.check_model(loaded.model)
    monkeypatch.setattr(frontend.processor, "audio_token", "<|begin|>")
    with pytest.raises(ModelError, match="audio is token 91 of the processor and token 90 of"):
        frontend.check_model(loaded.model)


@pytest.mark.parametrize("name", ["granite_speech", "fun_asr_nano", "voxtral"])
def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch, name):
    monkeypatch.setattr(processor.importlib.util, "find_spec", lambda package: None)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": name}))
    with pytest.raises(ModelError, match=r"Processor needs (torchaudio|mistral_common), which is"):
        FrontEnd.from_pretrained(tmp_path)


@pytest.mark.parametrize("file", ["tokenizer.json", "processor_config.json"])
def test_a_processor_that_lacks_a_file(checkpoints, tmp_path, file):
    folder = spoiled(checkpoints("qwen2_audio"), tmp_path)
    (folder / file).unlink()
    with pytest.raises(ModelError, match="holds no readable Qwen2AudioProcessor"):
        FrontEnd.from_pretrained(folder)


def test_every_front_end_is_listed_and_complete():
    kinds = {kind: front_end({"model_type": kind}) for kind in FRONT_ENDS}
    known = {kind for family in FAMILIES for kind in family.model_types}
    assert set(kinds) == known
    for kind in kinds.values():
        assert not kind.__abstractmethods__
        assert kind.tested
