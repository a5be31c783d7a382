import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headrouter_core import routing, scoring
from headrouter_core.errors import ProfileMismatchError, UsageError
from headrouter_core.profile.profile import Recipe
from headrouter_core.selectors import Frame, HeadRouter, Random
from headrouter_core.selectors.base import Need, View
from headrouter_core.selectors.headrouter import _on

from ..checking import reference
from ..checking.bundles import make_profile
from ..checking.views import make_view

PROFILE = make_profile()


# frame and random


def test_frame_reads_nothing_and_spaces_evenly():
    view = View(10, torch.device("cpu"), 0)
    assert Frame.needs is Random.needs is Need.NOTHING
    assert Frame()(view, 4).kept.tolist() == [0, 2, 5, 7]
    assert Frame()(view, 4).importance is None


def test_random_depends_on_seed_and_sample_only():
    def draw(seed, sample, texts=5):
        return Random(seed=seed)(make_view(400, sample=sample, texts=texts), 40).kept.tolist()

    assert draw(0, 0) == draw(0, 0, texts=2)
    assert len({tuple(draw(seed, sample)) for seed in range(4) for sample in range(4)}) == 16


def test_random_leaves_the_callers_random_state_alone():
    before = torch.random.get_rng_state()
    Random(seed=1)(make_view(100), 10)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_random_is_uniform():
    counts = torch.zeros(20)
    for sample in range(2000):
        counts[Random()(View(20, torch.device("cpu"), sample), 5).kept] += 1
    # 500 expected each, deviation 19
    assert counts.min() > 400
    assert counts.max() < 600


# headrouter


@given(
    st.integers(0, 10**6),
    st.integers(1, 40),
    st.data(),
    st.sampled_from([0, 0.3, 1]),
    st.sampled_from(["auto", "hard", "swapped", *routing.GROUPS]),
)
def test_headrouter_equals_reference(seed, audios, data, exponent, route):
    k = data.draw(st.integers(1, audios))
    view = make_view(audios, seed=seed, dtype=torch.float64, scale=0.7)
    selection = HeadRouter(PROFILE, route=route, exponent=exponent)(view, k)

    probe = reference.probe(view.queries.numpy(), view.keys.numpy(), 0.7)
    spread = reference.spread(reference.selectivity(probe))
    centers = PROFILE.centers.numpy()
    mixing = reference.mixing(spread, centers, PROFILE.bandwidth)
    if route == "hard":
        mixing = np.eye(3)[np.abs(spread - centers).argmin()]
    if route == "swapped":
        mixing = np.array([mixing[2], mixing[1], mixing[0]])
    if route in routing.GROUPS:
        mixing = np.eye(3)[routing.GROUPS.index(route)]
    weights = reference.route_weights(mixing, PROFILE.weights.double().numpy())
    importance = reference.importance(probe, weights)
    count = min(max(math.ceil(round(audios ** (1 - exponent) * k**exponent, 9)), k), audios)
    candidates = [i * audios // count for i in range(count)]
    scored = np.full(audios, np.nan)
    scored[candidates] = importance[candidates]

    np.testing.assert_allclose(selection.spread, spread, atol=1e-9)
    np.testing.assert_allclose(selection.mixing, mixing, atol=1e-7)
    np.testing.assert_allclose(selection.importance, scored, rtol=1e-6)
    assert selection.kept.tolist() == reference.top_k(selection.importance.tolist(), k)


def test_exponent_one_is_frame_and_exponent_zero_scores_all():
    view = make_view(50)
    frame = Frame()(view, 12).kept
    assert torch.equal(HeadRouter(PROFILE, exponent=1)(view, 12).kept, frame)
    full = HeadRouter(PROFILE, exponent=0)(view, 12)
    assert not full.importance.isnan().any()
    assert torch.equal(full.kept, scoring.top_k(full.importance, 12))


def test_kept_tokens_are_the_most_important_candidates():
    selection = HeadRouter(PROFILE, exponent=0.5)(make_view(200), 20)
    chosen = torch.zeros(200, dtype=torch.bool)
    chosen[selection.kept] = True
    rest = selection.importance[~chosen & ~selection.importance.isnan()]
    assert rest.numel() > 0
    assert selection.importance[chosen].min() >= rest.max()


def test_the_spread_does_not_depend_on_k_or_the_prefilter():
    view = make_view(60)
    spreads = {
        HeadRouter(PROFILE, exponent=exponent)(view, k).spread.item()
        for exponent in (0, 0.5, 1)
        for k in (1, 30, 60)
    }
    assert len(spreads) == 1


def test_the_recipe_is_the_default_and_arguments_override_it():
    profile = make_profile(recipe=Recipe(text_tokens="after", prefilter_exponent=0.25))
    plain, other = HeadRouter(profile), HeadRouter(profile, text_tokens="all", exponent=0)
    assert (plain.text_tokens, plain.exponent) == ("after", 0.25)
    assert (other.text_tokens, other.exponent) == ("all", 0)
    assert HeadRouter.needs is Need.QUERIES_KEYS


@pytest.mark.parametrize(
    "arguments",
    [
        {"route": "Semantic"},
        {"text_tokens": "before"},
        {"exponent": 1.5},
        {"exponent": math.nan},
    ],
)
def test_unknown_arguments_are_refused(arguments):
    with pytest.raises(UsageError, match=next(iter(arguments))):
        HeadRouter(PROFILE, **arguments)


def test_another_number_of_heads_is_refused():
    view = make_view(10)
    foreign = replace(view, queries=view.queries[:2])
    with pytest.raises(ProfileMismatchError, match="4 heads and the probe layer has 2"):
        HeadRouter(PROFILE)(foreign, 3)


@pytest.mark.parametrize("missing", ["queries", "keys"])
def test_a_view_without_queries_or_keys_is_refused(missing):
    with pytest.raises(UsageError, match="queries and keys"):
        HeadRouter(PROFILE)(replace(make_view(10), **{missing: None}), 3)


def test_the_profile_is_moved_to_a_device_once():
    selector = HeadRouter(PROFILE)
    selector(make_view(10), 3)
    first = _on(PROFILE, torch.device("cpu"), torch.float32)
    replace(selector, route="hard")(make_view(20), 3)
    assert _on(PROFILE, torch.device("cpu"), torch.float32) is first


def test_choosing_is_not_differentiated():
    view = make_view(10)
    selection = HeadRouter(PROFILE)(replace(view, keys=view.keys.requires_grad_()), 3)
    assert not selection.importance.requires_grad
