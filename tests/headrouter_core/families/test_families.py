"""Every family: found, probed rightly, replayed; everything else refused."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import nn

from calibrate.estimation.replay.layers import replay
from calibrate.estimation.replay.prefix import capture
from headrouter_core import families
from headrouter_core.errors import PruningError, UnsupportedModelError
from headrouter_core.profile.model_info import fingerprint
from headrouter_core.pruning.context import prune

from ..checking.exactness import TOLERANCE
from ..checking.masked import error
from ..checking.probes import Recorder, Scattered
from ..tiny import models as tiny_models
from ..tiny.families import BUILDERS, build, decoder_layers, twin, with_audio
from ..tiny.models import AUDIO, BEGIN, END, batch, row

each_family = pytest.mark.parametrize("name", BUILDERS)

ROWS = [row("system", 20, "question?"), row("s", 9, "why"), row("only text")]


@functools.cache
def model(name: str, attention: str) -> nn.Module:
    return with_audio(twin(plain(name), attention))


@functools.cache
def plain(name: str) -> nn.Module:
    return build(name)


def inputs(rows: list[list[int]], side: str = "left") -> dict[str, torch.Tensor]:
    made = batch(rows, side)
    return {key: made[key] for key in ("input_ids", "attention_mask")}


@torch.no_grad()
def test_gemma4_goes_on_with_the_last_tokens_only() -> None:
    """Behind its last own keys, and where the whole prompt was padded but the kept one is not."""
    whole, given = model("gemma4", "sdpa"), inputs([ROWS[0][:-1], ROWS[0]])
    one = {name: tensor[:1] for name, tensor in given.items()}
    assert not one["attention_mask"].all()
    for few in (one, given):
        with prune(whole, Scattered(), 0.6, 2):
            wanted = whole(**few).logits[:, -3:]
        with prune(whole, Scattered(), 0.6, 2):
            found = whole(**few, logits_to_keep=3).logits
        assert error(found, wanted) < TOLERANCE


@pytest.mark.parametrize("name", ["gemma4", "gemma4_unified"])
@torch.no_grad()
def test_unscaled_affinities_round_by_more_than_is_allowed(name: str) -> None:
    """Unpruned float32 against float64: why the tiny Gemmas have small queries."""
    ids = inputs(ROWS[:1])["input_ids"]
    errors = []
    for queries in (0.1, 1):
        whole = with_audio(build(name, queries=queries))
        single = whole(input_ids=ids, use_cache=False).logits
        errors.append(error(single, whole.double()(input_ids=ids, use_cache=False).logits))
    assert errors[0] < TOLERANCE / 2
    assert errors[1] > TOLERANCE


@each_family
@torch.no_grad()
def test_views_hold_what_the_model_computes(name: str) -> None:
    """The last row's attention is the eager one's; rotated keys are those in the cache."""
    near = [row("system", 20, "why"), row("s", 9, "?"), row("only text")]  # for windows of 9
    whole, given, recorder = model(name, "eager"), inputs(near), Recorder()
    with prune(whole, recorder, 0.6, 2):
        whole(**given)
    output = whole(**given, use_cache=True, output_attentions=True)
    anatomy = families.locate(whole)
    probed = anatomy.attentions[1]
    for index, view in enumerate(recorder.views):
        ids, real = given["input_ids"][index], given["attention_mask"][index].bool()
        audio = ((ids == AUDIO) & real).nonzero()[:, 0]
        text = real & ~torch.isin(ids, torch.tensor([AUDIO, *anatomy.marker_ids]))
        wanted = output.attentions[1][index, :, -1, audio]
        assert view.last_attention is not None
        assert error(view.last_attention, wanted) < TOLERANCE
        held = output.past_key_values.layers[1].keys[index]
        reachable = audio >= ids.numel() - held.shape[1]  # a sliding window's cache forgets
        assert view.rotated_keys is not None
        columns = audio[reachable] - (ids.numel() - held.shape[1])
        assert error(view.rotated_keys[:, reachable], held[:, columns]) < TOLERANCE
        assert view.queries is not None
        assert view.queries.shape == (4, int(text.sum()), 16)
        assert view.keys is not None
        assert view.keys.shape == (probed.keys.heads, len(audio), 16)
        assert view.scale == probed.module.scaling


@torch.no_grad()
def test_layers_without_rotary_encoding_are_probed_too() -> None:
    whole, given, recorder = model("muse_spark", "eager"), inputs(ROWS[:1]), Recorder()
    with prune(whole, recorder, 0.6, 3):
        whole(**given)
    (view,) = recorder.views
    assert torch.equal(view.rotated_keys, view.keys)
    audio = (given["input_ids"][0] == AUDIO).nonzero()[:, 0]
    wanted = whole(**given, output_attentions=True).attentions[2][0, :, -1, audio]
    assert error(view.last_attention, wanted) < TOLERANCE


@each_family
@torch.no_grad()
def test_replay_equals_pruning(name: str) -> None:
    whole = model(name, "sdpa")
    given = inputs([row("system", 12, "question?", "answer")])
    length = given["input_ids"].shape[1]
    if name == "gemma3n":
        with pytest.raises(UnsupportedModelError, match="more behind its last layer"):
            capture(whole, given, 2, length - 6)
        return
    with prune(whole, Scattered(), 0.6, 2) as trace:
        pruned = whole(**given).logits[0, -7:-1]
    prefix = capture(whole, given, 2, length - 6)
    assert error(replay(whole, prefix, trace[0].kept[None])[0], pruned) < TOLERANCE


@each_family
def test_facts_are_read_from_the_weights(name: str) -> None:
    whole = plain(name)
    info = families.model_info(whole, 2)
    attention = decoder_layers(whole)[1].self_attn
    if name == "phi4_multimodal":
        fused = attention.qkv_proj.weight
        weights = [(fused[:64], None), (fused[64:96], None)]
    else:
        weights = [(part.weight, part.bias) for part in (attention.q_proj, attention.k_proj)]
    assert (info.family, info.layers) == (name, len(decoder_layers(whole)))
    assert (info.heads, info.kv_heads) == (4, 2)
    assert (info.head_dim, info.probe_layer, info.dtype) == (16, 1, "float32")
    assert info.fingerprint == fingerprint(weights)
    assert families.model_info(whole, 1).fingerprint != info.fingerprint


def test_every_family_is_tested_and_named_once() -> None:
    names = [family.name for family in families.FAMILIES]
    assert len(set(names)) == len(names)
    assert {*BUILDERS, "qwen2_5_omni"} == set(names)
    types = [kind for family in families.FAMILIES for kind in family.model_types]
    assert len(set(types)) == len(types)


@pytest.mark.parametrize(
    ("name", "layer", "change", "reason"),
    [
        ("qwen3_omni_moe", 1, {}, None),
        ("gemma4", 2, {"use_bidirectional_attention": "vision"}, "both directions"),
        ("gemma4", 2, {}, None),
        ("gemma4_unified", 2, {"use_bidirectional_attention": "all"}, "both directions"),
    ],
)
def test_pictures(
    name: str,
    layer: int,
    change: dict[str, Any],
    reason: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    family = families.family_of(plain(name))
    config = plain(name).config
    for key, value in change.items():
        monkeypatch.setattr(config.get_text_config(), key, value)
    found = family.obstacle(plain(name), {"pixel_values": torch.zeros(1)}, layer)
    assert (reason is None and found is None) or reason in str(found)


def test_pictures_behind_the_pruning_layer() -> None:
    whole = plain("qwen3_omni_moe")
    family = families.family_of(whole)
    deep = whole.config.vision_config.deepstack_visual_indexes
    try:
        whole.config.vision_config.deepstack_visual_indexes = [0, 1, 2]
        call = {"pixel_values": torch.zeros(1)}
        assert "prune at layer 3" in str(family.obstacle(whole, call, 2))
        assert family.obstacle(whole, call, 3) is None
        assert family.obstacle(whole, {}, 2) is None
    finally:
        whole.config.vision_config.deepstack_visual_indexes = deep


def test_an_obstacle_stops_a_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = model("gemma4", "sdpa")
    text = whole.config.get_text_config()
    monkeypatch.setattr(text, "use_bidirectional_attention", "all")
    with (
        pytest.raises(PruningError, match=r"gemma4 cannot be pruned here: .* pictures"),
        prune(whole, Scattered(), 0.6),
    ):
        whole(**inputs(ROWS))


@pytest.mark.parametrize(
    ("kwargs", "speaks"),
    [
        ({}, True),
        ({"return_audio": False}, False),
        ({"return_audio": True, "generation_mode": "text"}, True),
        ({"generation_mode": "text"}, False),
        ({"generation_mode": "audio"}, True),
    ],
)
def test_qwen3_speech(kwargs: dict[str, Any], speaks: bool) -> None:
    family = families.family_of(plain("qwen3_omni_moe"))
    assert family.speech(kwargs) is speaks


def test_thinker_inside_a_full_model() -> None:
    full = tiny_models.full()
    anatomy = families.locate(full)
    assert anatomy.root is full.thinker
    assert anatomy.audio_ids == (AUDIO,)
    assert anatomy.marker_ids == (BEGIN, END)
    info = families.model_info(full, 2)
    assert info == families.model_info(full.thinker, 2)
    assert (info.family, info.id) == ("qwen2_5_omni", "qwen2_5_omni")


def test_a_local_folder_is_named_without_its_place(tmp_path: Any) -> None:
    thinker = tiny_models.thinker()
    folder = tmp_path / "my-model"
    folder.mkdir()
    thinker.config._name_or_path = str(folder)
    assert families.model_info(thinker, 2).id == "my-model"
    thinker.config._name_or_path = "Qwen/Qwen2.5-Omni-3B"
    assert families.model_info(thinker, 2).id == "Qwen/Qwen2.5-Omni-3B"


def test_quantised_weights_have_no_fingerprint() -> None:
    thinker = tiny_models.thinker()
    attention = decoder_layers(thinker)[1].self_attn
    packed = nn.Module()
    packed.out_features = attention.q_proj.out_features
    packed.weight = nn.Parameter(torch.zeros(64 * 32, 1, dtype=torch.uint8), requires_grad=False)
    attention.q_proj = packed
    assert families.model_info(thinker, 2).fingerprint is None
    del packed.weight
    assert families.model_info(thinker, 2).fingerprint is None
