"""The joined model equals its parts, and every command takes its folder."""

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM, WhisperForConditionalGeneration

from calibrate.models.named import load
from headrouter_core import Frame, prune
from small_omni.adapter import Places, attach, merge, save, trained
from small_omni.assembly import LONGEST, assemble, towers


@torch.inference_mode()
def test_text_is_answered_as_by_the_language_model(omni, random_parts):
    alone = LlamaForCausalLM(random_parts.llama).eval()
    alone.model.load_state_dict(random_parts.llama_state)
    alone.tie_weights()
    ids = omni.tokenizer("Which instrument is playing?", return_tensors="pt")["input_ids"]
    torch.testing.assert_close(omni.model(input_ids=ids).logits, alone(ids).logits)


@torch.inference_mode()
def test_a_full_window_is_heard_as_by_whisper(omni, random_parts):
    alone = WhisperForConditionalGeneration(random_parts.whisper).eval()
    alone.load_state_dict(random_parts.whisper_state)
    mel = torch.randn(80, 3000)
    theirs = alone.model.encoder.layers[-1]
    heard = {}

    def keep(name):
        def hook(_, __, out):
            heard[name] = (out[0] if isinstance(out, tuple) else out).reshape(1500, -1)

        return hook

    tower, _ = towers(omni.model)
    theirs.register_forward_hook(keep("theirs"))
    tower.layers[-1].register_forward_hook(keep("ours"))
    alone.model.encoder(mel[None])
    tower(mel, feature_lens=torch.tensor([3000]))
    torch.testing.assert_close(heard["ours"], heard["theirs"], rtol=1e-3, atol=1e-4)


@torch.inference_mode()
def test_longer_audio_is_heard_window_by_window(omni):
    (tower, _), mel = towers(omni.model), torch.randn(80, 4400)

    def hear(part):
        return tower(part, feature_lens=torch.tensor([part.shape[1]])).last_hidden_state

    whole = hear(mel)
    assert whole.shape[0] == 1100
    torch.testing.assert_close(whole, torch.cat([hear(mel[:, :3000]), hear(mel[:, 3000:])]))


def test_the_folder_is_a_model_for_every_command(omni, tmp_path):
    omni.save(tmp_path / "joined")
    loaded = load(str(tmp_path / "joined"), device="cpu")
    text = "12 clicks,  two\nbarks <|im_end|>"
    assert loaded.frontend.tokenizer(text)["input_ids"] == omni.tokenizer(text)["input_ids"]
    assert loaded.frontend.max_seconds == LONGEST
    audio = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    inputs = loaded.place(loaded.frontend.inputs([audio], "What do you hear?"))
    with torch.inference_mode(), prune(loaded.model, Frame(), 0.6) as trace:
        loaded.model.generate(**inputs, max_new_tokens=2, do_sample=False)
    assert len(trace[0].kept) == 10
    decoded = loaded.frontend.tokenizer.decode(inputs["input_ids"][0])
    assert decoded.endswith("<|audio_eos|>What do you hear?<|im_end|>\n<|im_start|>assistant\n")


def test_parts_that_do_not_fit_are_refused(random_parts):
    lacking = dict(random_parts.llama_state)
    del lacking["norm.weight"]
    with pytest.raises(ValueError, match=r"1 weights are missing \['norm.weight'\]"):
        assemble(type(random_parts)(**{**vars(random_parts), "llama_state": lacking}))


def test_merging_an_adapter_gives_the_trained_model(omni, random_parts, tmp_path):
    attach(omni.model, Places(decoder_rank=2, encoder_rank=3, encoder_layers=1))
    changed = trained(omni.model)
    assert {name.split(".")[0] for name in changed} == {"encoder", "decoder"}
    assert not any(name.startswith("encoder.layers.0") for name in changed)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in changed.values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    save(changed, tmp_path / "adapter.safetensors", torch.float32)
    merged = assemble(random_parts, seed=5).model
    merge(merged, tmp_path / "adapter.safetensors")
    mel, ids = torch.randn(80, 200), torch.arange(30)[None]
    length = torch.tensor([200])
    with torch.inference_mode():
        for ours, theirs, given in zip(
            towers(merged),
            towers(omni.model),
            ({"input_features": mel, "feature_lens": length}, {"input_ids": ids}),
            strict=True,
        ):
            torch.testing.assert_close(
                ours(**given).last_hidden_state,
                theirs(**given).last_hidden_state,
                rtol=1e-4,
                atol=1e-4,
            )


def test_an_adapter_of_another_model_is_refused(random_parts, omni, tmp_path):
    path = tmp_path / "adapter.safetensors"
    save(
        {
            "decoder.layers.9.mlp.up_proj.a": torch.ones(1, 64),
            "decoder.layers.9.mlp.up_proj.b": torch.ones(96, 1),
        },
        path,
        torch.float16,
    )
    with pytest.raises(ValueError, match=r"changes .*layers.9.mlp.up_proj, which"):
        merge(omni.model, path)
