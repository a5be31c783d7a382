"""What is settled at the start, on stand-ins for vLLM's configuration."""

import logging
from types import SimpleNamespace

import pytest

from headrouter_core import load_profile
from headrouter_core.errors import ProfileError, UsageError
from headrouter_vllm import hooks
from headrouter_vllm.errors import StartError
from headrouter_vllm.families import FAMILIES
from headrouter_vllm.starting import Started, chained, start

OMNI, ASR, _, AUDIO, _ = FAMILIES


@pytest.fixture(autouse=True)
def _hooked(monkeypatch):
    monkeypatch.setattr(hooks, "require", lambda: None)


def config(headrouter, **changes):
    """Return what of a VllmConfig is read; ``changes`` are by the path of attributes."""
    multimodal = SimpleNamespace(video_pruning_rate=None, mm_processor_kwargs=None)
    hf_config = SimpleNamespace(audio_token_id=7, audio_start_token_id=8, audio_end_token_id=9)
    if headrouter is not None:
        hf_config.headrouter = headrouter
    whole = SimpleNamespace(
        model_config=SimpleNamespace(
            hf_config=hf_config, multimodal_config=multimodal, uses_mrope=True
        ),
        parallel_config=SimpleNamespace(
            pipeline_parallel_size=1,
            tensor_parallel_size=1,
            data_parallel_size=1,
            enable_expert_parallel=False,
        ),
        scheduler_config=SimpleNamespace(encoder_cache_size=2048),
        compilation_config=SimpleNamespace(cudagraph_mm_encoder=False),
        speculative_config=None,
        lora_config=None,
        kv_transfer_config=None,
        ec_transfer_config=None,
    )
    for path, value in changes.items():
        *parents, name = path.split("__")
        place = whole
        for parent in parents:
            place = getattr(place, parent)
        setattr(place, name, value)
    return whole


def test_nothing_is_touched_where_nothing_is_asked_for(caplog):
    given = config(None, speculative_config="draft", parallel_config__pipeline_parallel_size=4)
    with caplog.at_level(logging.INFO, "vllm.headrouter"):
        start(OMNI, given)
    assert Started.of(given.model_config.hf_config) is None
    assert given.model_config.multimodal_config.video_pruning_rate is None
    assert "headrouter: not active" in caplog.text


def test_what_is_settled_goes_along_with_the_configuration(caplog):
    given = config({"ratio": 0.6, "method": "headrouter", "profile": "tiny-omni"})
    start(OMNI, given)
    assert given.model_config.multimodal_config.video_pruning_rate > 0
    settled = Started.of(given.model_config.hf_config)
    assert settled.settings.ratio == "3/5"
    assert settled.digest == load_profile("tiny-omni").digest
    assert (settled.family, settled.room) == ("qwen2_5_omni", 2048)
    with caplog.at_level(logging.INFO, "vllm.headrouter"):
        settled.announce("testing")
        settled.announce("testing")
    line = "headrouter: active: qwen2_5_omni, method headrouter, ratio 0.6, profile tiny-omni"
    assert caplog.text.count(line) == 1
    assert f"{settled.digest[:12]}; equals prune_inputs(per_audio=True)" in caplog.text


def test_methods_without_a_question_say_so():
    given = config({"ratio": 0.9, "method": "segments"})
    start(OMNI, given)
    line = Started.of(given.model_config.hf_config).describe()
    assert "method segments, ratio 0.9, no profile; equals prune_inputs(layer=0" in line
    assert "is not prune" in line


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("parallel_config__pipeline_parallel_size", 2, "pipeline parallelism"),
        ("speculative_config", object(), "speculative decoding"),
        ("model_config__uses_mrope", False, "names no mrope_section"),
        ("lora_config", SimpleNamespace(enable_tower_connector_lora=True), "LoRA on the audio"),
        ("model_config__multimodal_config__video_pruning_rate", 0.3, "--video-pruning-rate"),
        (
            "model_config__multimodal_config__mm_processor_kwargs",
            {"use_audio_in_video": True},
            "use_audio_in_video",
        ),
        (
            "model_config__multimodal_config__mm_processor_kwargs",
            {"headrouter": {"ratio": 0.9}},
            'say "headrouter" in --hf-overrides',
        ),
        ("compilation_config__cudagraph_mm_encoder", True, "CUDA graphs of the encoder"),
    ],
)
def test_what_is_not_exact_does_not_start(path, value, message):
    for unproven in (False, True):
        with pytest.raises(StartError, match=message):
            start(OMNI, config({"ratio": 0.6, "unproven": unproven}, **{path: value}))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("parallel_config__tensor_parallel_size", 2, "tensor parallelism has not been run"),
        ("kv_transfer_config", object(), "KV transfer has not been run"),
        ("ec_transfer_config", object(), "encoders in another process have not been run"),
    ],
)
def test_what_nobody_has_seen_starts_only_if_asked_for(path, value, message):
    with pytest.raises(StartError, match=f'{message}.* say "unproven": true'):
        start(OMNI, config({"ratio": 0.6}, **{path: value}))
    start(OMNI, config({"ratio": 0.6, "unproven": True}, **{path: value}))


def test_a_probe_needs_all_heads_and_no_lora():
    profiled = {"ratio": 0.6, "profile": "tiny-omni", "unproven": True}
    with pytest.raises(StartError, match="no process has all heads"):
        start(OMNI, config(profiled, parallel_config__tensor_parallel_size=2))
    plain = SimpleNamespace(enable_tower_connector_lora=False)
    with pytest.raises(StartError, match="the probe runs without LoRA"):
        start(OMNI, config(profiled, lora_config=plain))
    start(OMNI, config({"ratio": 0.6}, lora_config=plain))


@pytest.mark.parametrize(
    ("path", "value"),
    [("parallel_config__data_parallel_size", 2), ("parallel_config__enable_expert_parallel", True)],
)
def test_a_probe_runs_in_one_process(path, value):
    with pytest.raises(StartError, match="experts wait for all processes"):
        start(OMNI, config({"ratio": 0.6, "profile": "tiny-omni"}, **{path: value}))
    start(OMNI, config({"ratio": 0.6}, **{path: value}))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("audio_end_token_id", None, "names no end of audio"),
        ("audio_start_token_id", None, "names no begin of audio"),
        ("audio_end_token_id", 8, "the same id twice: placeholder 7, begin 8, end 8"),
        ("audio_start_token_id", 7, "the same id twice: placeholder 7, begin 7, end 9"),
    ],
)
def test_markers_that_would_count_as_text_are_refused(name, value, message):
    given = {f"model_config__hf_config__{name}": value}
    with pytest.raises(StartError, match=f"{message}.*; name it in --hf-overrides"):
        start(ASR, config({"ratio": 0.6, "profile": "tiny-omni"}, **given))
    start(ASR, config({"ratio": 0.6}, **given))  # nothing reads text


def test_a_configuration_that_is_changed_is_settled_again():
    given = config({"ratio": 0.6})
    start(OMNI, given)
    start(OMNI, given)
    given.parallel_config.pipeline_parallel_size = 2
    with pytest.raises(StartError, match="pipeline"):
        start(OMNI, given)


def test_every_problem_is_named_at_once():
    given = config({}, speculative_config=1, parallel_config__pipeline_parallel_size=2)
    with pytest.raises(StartError, match=r"pipeline.*; .*speculative"):
        start(OMNI, given)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_family_starts(family):
    start(family, config({"ratio": 0.6, "positions": family.positions}))


def test_renumbered_positions_are_asked_for_by_name():
    with pytest.raises(
        StartError, match='ask for that other function by "positions": "renumbered"'
    ):
        start(AUDIO, config({"ratio": 0.6, "unproven": True}))
    asked = {"ratio": 0.6, "unproven": True, "positions": "renumbered"}
    given = config(asked)
    start(AUDIO, given)
    assert given.model_config.multimodal_config.video_pruning_rate is None
    assert "equals neither" in Started.of(given.model_config.hf_config).describe()
    with pytest.raises(StartError, match="qwen2_5_omni keeps positions"):
        start(OMNI, config(asked))
    with pytest.raises(StartError, match="headrouter is not for renumbered positions"):
        start(AUDIO, config({**asked, "method": "headrouter", "profile": "tiny-omni"}))


def test_bad_settings_and_profiles_do_not_start():
    with pytest.raises(UsageError, match="ratio 2 is outside"):
        start(OMNI, config({"ratio": 2}))
    with pytest.raises(ProfileError, match="there is no profile"):
        start(OMNI, config({"profile": "nowhere.safetensors"}))


def test_hooks_of_others_run_first():
    calls = []

    class Former:
        @staticmethod
        def verify_and_update_config(vllm_config):
            calls.append("config")

        @staticmethod
        def verify_and_update_model_config(model_config):
            calls.append("model")

    given = config({"ratio": 0.6})
    hook = chained(OMNI, Former)
    hook.verify_and_update_config(given)
    hook.verify_and_update_model_config(given.model_config)
    assert calls == ["config", "model"]
    assert Started.of(given.model_config.hf_config) is not None
    chained(OMNI, None).verify_and_update_model_config(given.model_config)


def test_missing_hooks_are_named():
    assert hooks.lacking("json", {"loads": ("s",), "JSONDecoder.decode": ()}) == []
    found = hooks.lacking("json", {"loads": ("text",), "JSONDecoder.read": (), "reads": ()})
    assert found == ["text of json.loads", "json.JSONDecoder.read", "json.reads"]
    assert hooks.lacking("json.nothing", {"x": ()}) == ["json.nothing"]


def test_a_vllm_that_lacks_hooks_is_refused(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(hooks, "NEEDED", {"json": {"nothing": ()}})
    monkeypatch.setattr(hooks, "version", lambda: "9.9")
    with pytest.raises(StartError, match=r"vLLM 9\.9 lacks what pruning needs: json\.nothing; use"):
        hooks.require()
