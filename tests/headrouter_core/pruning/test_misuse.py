"""Whatever is passed where it does not belong is refused by a typed error that says what it was."""

import math

import numpy as np
import pytest
import torch

from calibrate.estimation.replay.layers import replay, replay_cache
from calibrate.estimation.replay.prefix import capture
from headrouter_core import families, load_profile, routing, scoring
from headrouter_core.errors import HeadRouterError, UsageError
from headrouter_core.pruning.context import prune
from headrouter_core.pruning.inputs import prune_inputs
from headrouter_core.selectors import (
    Frame,
    HeadRouter,
)
from headrouter_core.selectors.base import View

from ..checking.bundles import make_profile
from ..checking.views import make_view
from ..profile.test_model_check import Foreign
from ..selectors.test_selector_contract import PROFILE, make_selectors
from ..tiny.families import decoder_layers
from ..tiny.models import batch, row, thinker

ONE = batch([row("system", 20, "question?")])
PROBE, WEIGHTS, SPREAD = torch.rand(4, 9), torch.rand(4), torch.tensor(0.1)
CENTERS = torch.tensor([0.2, 0.1, 0.3])


@pytest.mark.parametrize(
    "ratio", [[], {}, b"0.6", 0.6j, object(), torch.tensor(0.6), np.array([0.6]), float, "1e-99999"]
)
def test_ratios_that_are_no_numbers(ratio):
    with pytest.raises(UsageError, match=r"ratio .* is not a number"):
        scoring.keep_count(10, ratio)


@pytest.mark.parametrize("count", [2.0, "2", None, True, torch.tensor(2), [2], math.nan])
def test_counts_that_are_no_whole_numbers(count):
    for call in (
        lambda: scoring.keep_count(count, 0.5),
        lambda: scoring.frame_indices(10, count),
        lambda: scoring.prefilter_count(count, 1, 0),
        lambda: scoring.top_k(PROBE[0], count),
        lambda: make_selectors()[0](make_view(10), count),
    ):
        with pytest.raises(UsageError, match="must be a whole number"):
            call()


def test_whole_numbers_of_numpy_count():
    assert scoring.keep_count(np.int64(10), np.float32(0.6)) == 4


@pytest.mark.parametrize(
    "call",
    [
        lambda: scoring.probe(None, PROBE),
        lambda: scoring.probe(torch.ones(4, 3, 8, dtype=torch.long), torch.ones(2, 5, 8)),
        lambda: scoring.selectivity(PROBE[0]),
        lambda: scoring.selectivity(PROBE.long()),
        lambda: scoring.selectivity(torch.ones(4, 0)),
        lambda: scoring.spread(PROBE),
        lambda: scoring.spread([0.1, 0.2]),
        lambda: scoring.importance(PROBE, WEIGHTS[:3]),
        lambda: scoring.importance(PROBE, WEIGHTS[:, None]),
        lambda: scoring.importance(PROBE[0], WEIGHTS),
        lambda: scoring.candidate_importance(PROBE[0], WEIGHTS, 3, 0),
        lambda: scoring.candidate_importance(PROBE, WEIGHTS, 3, "0"),
        lambda: scoring.candidate_importance(PROBE, WEIGHTS, 10, 0),
        lambda: scoring.top_k(PROBE, 3),
        lambda: scoring.top_k(PROBE[0].long(), 3),
        lambda: routing.mixing(0.1, CENTERS, 0.1),
        lambda: routing.mixing(SPREAD[None], CENTERS, 0.1),
        lambda: routing.mixing(SPREAD, CENTERS[:2], 0.1),
        lambda: routing.mixing(SPREAD, CENTERS.long(), 0.1),
        lambda: routing.mixing(SPREAD, CENTERS, "0.1"),
        lambda: routing.mixing(SPREAD, CENTERS, CENTERS),
        lambda: routing.mixing(SPREAD, CENTERS, 0),
        lambda: routing.mixing(SPREAD, CENTERS, math.nan),
        lambda: routing.hard_mixing(SPREAD, None),
        lambda: routing.route_weights(CENTERS, PROBE),
        lambda: routing.route_weights(CENTERS[:2], PROBE[:3]),
        lambda: View(10, torch.device("cpu"), 0, keys=torch.ones(2, 9, 8)),
        lambda: View(10, torch.device("cpu"), 0, hidden_states=torch.ones(10, 8).long()),
        lambda: View(0, torch.device("cpu"), 0),
        lambda: View("10", torch.device("cpu"), 0),
    ],
)
def test_shapes_and_dtypes_that_functions_do_not_take(call):
    with pytest.raises(UsageError):
        call()


class Pipeline:
    """What people hold in their hands: it has a model, and is none."""

    model = None
    config = ONE


@pytest.mark.parametrize(
    "model", [None, "tiny-omni", Pipeline(), torch.nn.Linear, ONE, torch.ones(2)]
)
def test_models_that_are_none(model):
    for call in (
        lambda: prune(model, Frame(), 0.6).__enter__(),
        lambda: prune_inputs(model, ONE, Frame(), 0.6),
        lambda: capture(model, ONE, 2),
        lambda: families.model_info(model, 2),
    ):
        with pytest.raises(UsageError, match=r"model is .*, which is no model"):
            call()


@pytest.mark.parametrize(
    ("selector", "hint"),
    [
        ("headrouter", r"'headrouter', .* get_selector\('headrouter'\)"),
        (HeadRouter, r"the class HeadRouter, .* HeadRouter\(\.\.\.\)"),
        (PROFILE, r"HeadRouter\(profile\)"),
        (None, "None, which is no selector; one has name"),
        (lambda view, k: None, "one has name, needs and text_tokens"),
        (0.6, "0.6, which is no selector"),
    ],
)
def test_selectors_that_are_none(selector, hint):
    model = thinker()
    for call in (
        lambda: prune(model, selector, 0.6).__enter__(),
        lambda: prune_inputs(model, ONE, selector, 0.6),
    ):
        with pytest.raises(UsageError, match=hint):
            call()


@pytest.mark.parametrize("layer", ["2", True, 2.0, [2], torch.tensor(2), math.nan])
def test_layers_that_are_no_numbers(layer):
    model = thinker()
    for call in (
        lambda: prune(model, Frame(), 0.6, layer).__enter__(),
        lambda: prune_inputs(model, ONE, Frame(), 0.6, layer),
        lambda: capture(model, ONE, layer),
        lambda: families.model_info(model, layer),
    ):
        with pytest.raises(UsageError, match=r"layer is .*; it must be a whole number"):
            call()


@pytest.mark.parametrize("ratio", ["a", None, math.nan, torch.tensor(0.6), True, ["a"], 1, -0.1])
def test_ratios_of_contexts(ratio):
    model = thinker()
    for call in (
        lambda: prune(model, Frame(), ratio).__enter__(),
        lambda: prune_inputs(model, ONE, Frame(), ratio),
    ):
        with pytest.raises(UsageError, match="ratio"):
            call()


def test_weights_of_a_foreign_kind_are_warned_of():
    model = thinker()
    profile = make_profile(model=families.model_info(model, 2))
    projection = decoder_layers(model)[1].self_attn.q_proj
    projection.weight = torch.nn.Parameter(Foreign.of(projection.weight), requires_grad=False)
    assert families.model_info(model, 2).fingerprint is None
    with (
        pytest.warns(UserWarning, match="weights cannot be compared"),
        pytest.raises(NotImplementedError, match="foreign tensor"),  # its own, in the forward
        prune(model, HeadRouter(profile), 0.6),
    ):
        model(**ONE)


@pytest.mark.parametrize("name", [None, 3, b"tiny-omni", ["tiny-omni"], PROFILE])
def test_names_of_profiles_that_are_none(name):
    with pytest.raises(UsageError, match="the profile's name is"):
        load_profile(name)
    with pytest.raises(UsageError, match="the profile's revision is 3"):
        load_profile("user/repo", revision=3)


@pytest.mark.parametrize("inputs", [None, [], "text", {}, {"input_ids": [[1, 2]]}, torch.ones(2)])
def test_inputs_that_are_none(inputs):
    model = thinker()
    with pytest.raises(UsageError, match=r"inputs have .*; pass what the processor returned"):
        capture(model, inputs, 2)
    with pytest.raises(HeadRouterError, match=r"inputs are .*; pass|input_ids"):
        prune_inputs(model, inputs, Frame(), 0.6)


def test_replays_of_what_cannot_be_replayed():
    model = thinker()
    length = ONE["input_ids"].shape[1]
    prefix = capture(model, ONE, 2, prompt_length=length - 2, cached=True)
    kept = torch.arange(8)[None]
    for call in (replay, replay_cache):
        for wrong in (None, [0, 1], kept.int(), kept[0], kept[:, :0]):
            with pytest.raises(UsageError, match="kept is"):
                call(model, prefix, wrong)
        for states in (torch.ones(1, 8, 1), torch.ones(8, 64), torch.ones(1, 8, 64).long(), "no"):
            with pytest.raises(UsageError, match=r"states is .* floating tensor \[1, 8, 64\]"):
                call(model, prefix, kept, states)
        with pytest.raises(UsageError, match="prefix is None"):
            call(model, None, kept)
    for wrong in ("5", 5.0, True):
        with pytest.raises(UsageError, match="prompt_length is"):
            capture(model, ONE, 2, prompt_length=wrong)
    with pytest.raises(UsageError, match="needs is 'everything'"):
        capture(model, ONE, 2, needs="everything")
