"""What is refused at the start and in requests, with the configurations that vLLM itself makes."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from headrouter_core import load_profile
from headrouter_core.errors import HeadRouterError, UsageError
from headrouter_vllm.errors import RequestError, StartError
from headrouter_vllm.processing import CHOICE, PROMPT
from headrouter_vllm.starting import Started

from .conftest import PROFILE
from .prompts import RATE, Question, sound

WHICH = "Which keyword is spoken?"
SOUNDS = {"image": 1, "video": 1, "audio": 3}
PROFILED = {"ratio": 0.6, "profile": PROFILE, "force": True}


def made(checkpoint, headrouter, **more):
    """Return vLLM's configuration, and so what happens when a server starts."""
    from vllm import EngineArgs

    overrides = {} if headrouter is None else {"headrouter": headrouter}
    given = {"enforce_eager": True, "dtype": "float32", "max_model_len": 2048, **more}
    overrides |= given.pop("hf_overrides", {})
    return EngineArgs(
        model=str(checkpoint), limit_mm_per_prompt=SOUNDS, hf_overrides=overrides, **given
    ).create_engine_config()


DRAFTS = {"method": "ngram", "num_speculative_tokens": 2, "prompt_lookup_max": 3}


@pytest.mark.parametrize(
    ("headrouter", "more", "message"),
    [
        ({}, {"pipeline_parallel_size": 2}, "pipeline parallelism"),
        ({}, {"tensor_parallel_size": 2}, 'tensor parallelism has not been run.*"unproven"'),
        (PROFILED, {"tensor_parallel_size": 2}, "no process has all heads to probe"),
        (PROFILED, {"data_parallel_size": 2}, "experts wait for all processes"),
        ({}, {"speculative_config": DRAFTS}, "drafts of speculative decoding"),
        ({}, {"enable_lora": True, "enable_tower_connector_lora": True}, "LoRA on the audio tower"),
        (PROFILED, {"enable_lora": True}, "the probe runs without LoRA"),
        ({}, {"video_pruning_rate": 0.3}, "--video-pruning-rate"),
        ({}, {"mm_processor_kwargs": {"use_audio_in_video": True}}, "use_audio_in_video"),
        ({}, {"mm_processor_kwargs": {"headrouter": {}}}, 'say "headrouter" in --hf-overrides'),
        ({}, {"compilation_config": {"cudagraph_mm_encoder": True}}, "CUDA graphs of the encoder"),
        (
            {},
            {"kv_transfer_config": {"kv_connector": "ExampleConnector", "kv_role": "kv_both"}},
            "KV transfer has not been run",
        ),
        ({"positions": "renumbered"}, {}, "qwen2_5_omni keeps positions"),
        (
            PROFILED,
            {"hf_overrides": {"audio_end_token_id": 6, "audio_start_token_id": 6}},
            "the same id twice",
        ),
    ],
    ids=str,
)
def test_what_is_not_exact_does_not_start(checkpoint, headrouter, more, message):
    with pytest.raises(StartError, match=message):
        made(checkpoint, headrouter, **more)
    made(checkpoint, None, **more)  # and vLLM itself has nothing against it


@pytest.mark.parametrize(
    ("headrouter", "message"),
    [
        ({"ratio": 2}, "ratio 2 is outside"),
        ({"ratio": float("nan")}, "ratio nan is not a number"),
        ({"method": "fastv"}, "headrouter.method is 'fastv'; known are frame"),
        ({"method": "headrouter"}, "reads the question by a calibrated profile"),
        ({"ration": 0.6}, "'ration' is no setting"),
        ({"headrouter": {"ratio": 0.6}}, "'headrouter' is no setting"),
        ({"profile": "nowhere.safetensors"}, "there is no profile"),
        ([], "it must be an object"),
    ],
    ids=str,
)
def test_settings_that_are_none_do_not_start(checkpoint, headrouter, message):
    with pytest.raises(HeadRouterError, match=message):
        made(checkpoint, headrouter)


def test_a_hook_that_is_missing_is_named(checkpoint, monkeypatch):
    from vllm.model_executor.models.interfaces import SupportsMRoPE

    monkeypatch.delattr(SupportsMRoPE, "get_mrope_input_positions")
    with pytest.raises(StartError, match=r"lacks what pruning needs: .*get_mrope_input_positions"):
        made(checkpoint, {})
    made(checkpoint, None)


def test_a_configuration_that_is_copied_starts_again(checkpoint):
    config = made(checkpoint, PROFILED)
    again = copy.copy(config)
    again.__post_init__()
    settled = Started.of(again.model_config.hf_config)
    assert settled == Started.of(config.model_config.hf_config)
    assert settled.settings.ratio == "3/5"


def reading(checkpoint, headrouter, **more):
    """Return vLLM's reader of prompts, of a server that was started so."""
    from vllm.multimodal import MULTIMODAL_REGISTRY

    return MULTIMODAL_REGISTRY.create_processor(made(checkpoint, headrouter, **more).model_config)


def read(reader, question, data=None, **kwargs):
    """Let it read a prompt."""
    from vllm.multimodal.processing.context import TimingContext
    from vllm.multimodal.processing.inputs import ProcessorInputs

    prompt = question.for_vllm()
    items = reader.info.parse_mm_data(data or prompt["multi_modal_data"], validate=False)
    ids = reader.info.get_tokenizer().encode(question.written, add_special_tokens=False)
    kwargs = {**prompt.get("mm_processor_kwargs", {}), **kwargs}
    inputs = ProcessorInputs(ids, items, hf_processor_mm_kwargs=kwargs)
    return reader.apply(inputs, TimingContext(enabled=False))


@pytest.fixture(scope="module")
def reader(checkpoint):
    return reading(checkpoint, PROFILED)


def test_requests_where_headrouter_is_not_switched_on(checkpoint):
    plain = reading(checkpoint, None)
    read(plain, Question(((0, 2),), WHICH))
    with pytest.raises(RequestError, match=r"not switched on: .* --trust-request-mm-kwargs"):
        read(plain, Question(((0, 2),), WHICH, {"ratio": 0.6}))


def test_requests_that_cannot_be_exact(reader):
    asked = Question(((0, 2),), WHICH, {"ratio": 0.6})
    with pytest.raises(RequestError, match="use_audio_in_video mixes audio and video"):
        read(reader, asked, use_audio_in_video=True)
    states = {
        "input_audio_features": torch.zeros(128, 200),
        "audio_feature_lengths": torch.tensor([200]),
    }
    with pytest.raises(RequestError, match="as sound, not as embeddings"):
        read(reader, asked, {"audio": states})
    picture = np.zeros((28, 28, 3), dtype=np.uint8)
    both = {"audio": [(sound(0, 2), RATE)], "image": [picture]}
    by_question = Question(((0, 2),), WHICH, {"ratio": 0.6, "method": "headrouter"})
    with pytest.raises(RequestError, match="this one has image beside"):
        read(reader, by_question, both)
    with pytest.raises(UsageError, match="is None; it must be an object"):
        read(reader, asked, headrouter=None)


def test_what_is_kept_is_at_least_one(reader):
    for seconds in (0.1, 0.5):
        told = read(reader, Question(((0, seconds),), WHICH, {"ratio": 0.99}))
        (place,) = told["mm_placeholders"]["audio"]
        assert place.length == 1


def hashes(reader, text=WHICH, **settings):
    told = read(reader, Question(((0, 2),), text, settings))
    (one,), (item,) = told["mm_hashes"]["audio"], told["mm_kwargs"]["audio"]
    assert CHOICE in item
    assert (PROMPT in item) == (settings.get("method") in ("headrouter", "adaptive_segments"))
    return one


def test_caches_are_shared_by_what_is_the_same(checkpoint, reader, tmp_path):
    """And so after a restart with other settings, in what caches outlive a process."""
    frame = hashes(reader, ratio=0.6)
    assert frame == hashes(reader, "And who says it?", ratio=0.6, method="frame")
    assert (
        len({frame, hashes(reader, ratio=0.9), hashes(reader, ratio=0.6, method="segments")}) == 3
    )
    asks = hashes(reader, ratio=0.6, method="headrouter")
    assert asks == hashes(reader, ratio=0.6, method="headrouter")
    assert asks != hashes(reader, "And who says it?", ratio=0.6, method="headrouter")

    other = tmp_path / "other.safetensors"
    replace(load_profile(PROFILE), results={}).save(other)
    restarted = reading(checkpoint, {**PROFILED, "profile": str(other), "ratio": 0.9})
    assert hashes(restarted, ratio=0.6) == frame
    assert hashes(restarted, ratio=0.6, method="headrouter") != asks
