"""Whatever is passed where it does not belong is refused by a typed error that says what it was."""

import copy
import dataclasses
import math
import pickle

import numpy as np
import pytest
import torch

from calibrate.estimation.replay.layers import replay, replay_cache
from calibrate.estimation.replay.prefix import capture
from headrouter_core import families, load_profile, routing, scoring
from headrouter_core.errors import HeadRouterError, SelectionError, UsageError
from headrouter_core.pruning.context import prune
from headrouter_core.pruning.inputs import prune_inputs
from headrouter_core.selectors import (
    DART,
    AdaptiveSegments,
    Energy,
    Frame,
    HeadRouter,
    Random,
    Segmentwise,
    get_selector,
)
from headrouter_core.selectors.base import Need, Selection, View

from ..bundles import make_profile
from ..profile.test_profile import Foreign
from ..selectors.test_selector_contract import PROFILE, every_selector, make_selectors
from ..tiny_families import decoder_layers
from ..tiny_models import batch, row, thinker
from ..views import make_view

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


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: HeadRouter("tiny-omni"), "profile is 'tiny-omni'"),
        (lambda: HeadRouter(None), "profile is None"),
        (lambda: AdaptiveSegments(type(PROFILE)), "profile is the class Profile"),
        (lambda: HeadRouter(PROFILE, route=["auto"]), "route is"),
        (lambda: HeadRouter(PROFILE, route=0), "route is 0"),
        (lambda: HeadRouter(PROFILE, exponent="0.5"), "exponent '0.5' is no number"),
        (lambda: HeadRouter(PROFILE, exponent=True), "exponent True is no number"),
        (lambda: HeadRouter(PROFILE, text_tokens=1), "text_tokens is 1"),
        (lambda: AdaptiveSegments(PROFILE, change="1"), "change '1' is no number"),
        (lambda: AdaptiveSegments(PROFILE, merge=torch.ones(())), "merge a torch.float32 tensor"),
        (lambda: Random(seed=1.5), "seed is 1.5"),
        (lambda: Random(seed=None), "seed is None"),
        (lambda: DART(pivots="8"), "pivots is '8'"),
        (lambda: DART(pivots=True), "pivots is True"),
        (lambda: Segmentwise(segments=2.5), "segments is 2.5"),
        (lambda: Segmentwise(text_tokens="some"), "text_tokens is 'some'"),
        (lambda: Energy(3), "loudness is 3"),
        (lambda: Energy([1.0, 2.0]), "loudness 0 is 1.0"),
        (lambda: get_selector(["frame"]), "no method"),
        (lambda: get_selector(None), "no method None"),
        (lambda: make_selectors()[0]("view", 3), "was given 'view'"),
    ],
)
def test_selectors_check_what_they_are_made_of(call, named):
    with pytest.raises(UsageError, match=named):
        call()


@every_selector
def test_selectors_are_values(index):
    selector, view = make_selectors()[index], make_view(10)
    kept = selector(view, 4).kept  # also after use
    for same in (
        dataclasses.replace(selector),
        copy.copy(selector),
        copy.deepcopy(selector),
        pickle.loads(pickle.dumps(selector)),
    ):
        assert type(same) is type(selector)
        assert torch.equal(same(view, 4).kept, kept)
    if not isinstance(selector, Energy):  # compared by identity: it holds tensors
        assert dataclasses.replace(selector) == selector
        assert hash(dataclasses.replace(selector)) == hash(selector)
    assert selector in {selector}


def test_one_setting_is_replaced_and_the_others_stay():
    before = HeadRouter(PROFILE, exponent=0.25, text_tokens="after")
    after = dataclasses.replace(before, route="hard")
    assert (after.route, after.exponent, after.text_tokens) == ("hard", 0.25, "after")
    before = AdaptiveSegments(PROFILE, change=0.5)
    after = dataclasses.replace(before, route="acoustic", merge=0)
    assert (after.route, after.change, after.merge) == ("acoustic", 0.5, 0)
    assert after.router == HeadRouter(PROFILE, route="acoustic", exponent=0)
    with pytest.raises(UsageError, match="route is 'loud'"):
        dataclasses.replace(before, route="loud")
    other = make_profile()
    assert dataclasses.replace(before, profile=other).router.profile is other


class Returning:
    """A selector that returns what it is told."""

    name, needs, text_tokens = "returning", Need.NOTHING, "all"

    def __init__(self, make):
        self.make = make

    def __call__(self, view, k):
        return self.make(torch.arange(k), k, view.audio_tokens)


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda kept, k, n: None, "returned None instead of a Selection"),
        (lambda kept, k, n: kept, "a torch.int64 tensor"),
        (lambda kept, k, n: Selection, "the class Selection"),
        (lambda kept, k, n: Selection(kept.tolist()), "as kept"),
        (lambda kept, k, n: Selection(None), "as kept None"),
        (lambda kept, k, n: Selection(kept.int()), "as kept a torch.int32 tensor"),
        (lambda kept, k, n: Selection(kept[1:]), "as kept"),
        (lambda kept, k, n: Selection(kept.to("meta")), "kept on meta"),
        (lambda kept, k, n: Selection(kept, torch.rand(n - 1)), "as importance"),
        (lambda kept, k, n: Selection(kept, torch.ones(n).long()), "as importance"),
        (lambda kept, k, n: Selection(kept, [0.5] * n), "as importance"),
        (lambda kept, k, n: Selection(kept, spread=0.1), "as spread 0.1"),
        (lambda kept, k, n: Selection(kept, spread=torch.ones(1)), "as spread"),
        (lambda kept, k, n: Selection(kept, mixing=torch.ones(4)), "as mixing"),
        (lambda kept, k, n: Selection(kept, states=torch.ones(k, 1)), "as states"),
        (lambda kept, k, n: Selection(kept, states=torch.ones(k)), "as states"),
        (lambda kept, k, n: Selection(kept, states=torch.ones(k, 64).long()), "as states"),
        (lambda kept, k, n: Selection(kept, states=torch.ones(1, 64)), "as states"),
    ],
)
@torch.no_grad()
def test_what_a_selector_may_not_return(make, found):
    model = thinker()
    with (
        pytest.raises(SelectionError, match=f"selector returning returned .*{found}|{found}"),
        prune(model, Returning(make), 0.6, 2),
    ):
        model(**ONE)
    assert model(**ONE).logits.isfinite().all()


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
