"""What front ends refuse, and what of a checkpoint they check."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from calibrate.models import checkpoints as checkpoints_module
from calibrate.models import named
from calibrate.models.frontends import processor
from calibrate.models.frontends.base import FRONT_ENDS, FrontEnd, front_end
from calibrate.terminal.errors import AudioError, ModelError
from headrouter_core import Frame, prune
from headrouter_core.errors import UsageError
from headrouter_core.families import FAMILIES
from tests.calibrate import tiny_checkpoints
from tests.calibrate.helpers import spoiled
from tests.calibrate.models.processors import QUESTION, noise


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
