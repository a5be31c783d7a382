"""Choosing as ``prune_inputs`` chooses."""

import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from headrouter_core import AdaptiveSegments, Frame, HeadRouter, Segments, __version__, families
from headrouter_core.selectors.base import View
from headrouter_vllm import choosing
from headrouter_vllm.families import FAMILIES
from headrouter_vllm.settings import Settings
from headrouter_vllm.tokens import audio_and_markers

from ..headrouter_core.checking.bundles import make_profile
from ..headrouter_core.checking.views import make_view
from ..headrouter_core.tiny.families import build
from ..headrouter_core.tiny.models import thinker


def test_settings_name_selectors():
    profile = make_profile()
    assert choosing.selector(Settings(), None) == Frame()
    assert choosing.selector(Settings(method="segments"), None) == Segments()
    cutting = Settings(method="segments", change=0.5, merge=0)
    assert choosing.selector(cutting, None) == Segments(change=0.5, merge=0)
    assert choosing.selector(Settings(method="headrouter"), profile) == HeadRouter(profile)
    adaptive = Settings(method="adaptive_segments", merge=1)
    assert choosing.selector(adaptive, profile) == AdaptiveSegments(profile, merge=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("k", [1, 7, 20])
def test_means_are_of_embeddings(k, dtype):
    view = make_view(20)
    embeddings = torch.randn(20, 6).to(dtype)
    profile = make_profile()
    kept, left = choosing.chosen(HeadRouter(profile), view, embeddings, k)
    assert torch.equal(left, embeddings[kept])
    merging = AdaptiveSegments(profile)
    kept, left = choosing.chosen(merging, view, embeddings, k)
    selection = merging(view, k)
    assert torch.equal(kept, selection.kept)
    assert left.dtype == dtype
    wanted = embeddings if k == 20 else selection.merge.of(embeddings, k).to(dtype)
    assert torch.equal(left, wanted)


def test_without_pruning_embeddings_stay_to_the_bit():
    states = torch.randn(9, 4)
    view = View(9, states.device, 0, hidden_states=states)
    kept, left = choosing.chosen(Segments(merge=1), view, states, 9)
    assert left is states
    assert kept.tolist() == list(range(9))


def test_families_are_the_cores():
    told = {family.name: family.vllm for family in families.FAMILIES if family.vllm}
    assert told == {family.name: family.standing for family in FAMILIES}


@pytest.mark.parametrize("name", ["qwen2_5_omni", "qwen3_asr", "qwen3_omni_moe"])
def test_tokens_are_told_apart_as_the_core_does(name):
    model = thinker("sdpa") if name == "qwen2_5_omni" else build(name)
    anatomy = families.locate(model)
    audio, markers = audio_and_markers(name, anatomy.root.config, SimpleNamespace())
    assert (audio,) == anatomy.audio_ids
    assert markers == anatomy.marker_ids


def test_markers_that_only_the_whole_model_names_are_known():
    # so it is where vLLM reads a Qwen3-ASR that transformers wrote
    inner = SimpleNamespace(audio_token_id=7, audio_start_token_id=151647)
    outer = SimpleNamespace(audio_token_id=7, audio_start_token_id=8, audio_end_token_id=9)
    assert audio_and_markers("qwen3_asr", inner, outer) == (7, (151647, 8, 9))


def test_the_wheel_is_of_this_version():
    path = Path(__file__).parents[2] / "headrouter_vllm" / "pyproject.toml"
    project = tomllib.loads(path.read_text())["project"]
    assert project["version"] == __version__
    assert f"headrouter=={__version__}" in project["dependencies"]
    hooks = project["entry-points"]["vllm.general_plugins"]
    assert hooks == {"headrouter": "headrouter_vllm:register"}
