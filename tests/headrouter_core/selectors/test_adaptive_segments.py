"""Adaptive segments: against plain loops in float64, and what the rule promises."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headrouter_core import AdaptiveSegments, HeadRouter, Recipe, UsageError, families, prune
from headrouter_core.scoring import frame_indices
from headrouter_core.selectors import runs
from headrouter_core.selectors.adaptive_segments import path, segments

from ..checking.bundles import make_profile
from ..checking.views import make_view
from ..tiny.families import decoder_layers
from ..tiny.models import AUDIO, batch, row, thinker

seeds = st.integers(0, 2**31 - 1)
lengths = st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n)))
PROFILE = make_profile()


def cut(masses, k):
    """Return where k runs of equal mass begin: the last token that begins no later than a share."""
    total, starts = sum(masses), []
    for number in range(k):
        begin, at = 0, 0
        for index, mass in enumerate(masses):
            if begin * k <= number * total:
                at = index
            begin += mass
        earliest = starts[-1] + 1 if starts else 0
        starts.append(min(max(at, earliest), len(masses) - k + number))
    return starts


def reference(importance, states, k, change, sharpness, merge):
    """Return kept tokens and their states by plain loops."""
    unit = [state / np.linalg.norm(state) for state in states]
    steps = [np.linalg.norm(after - before) for before, after in itertools.pairwise(unit)]
    steps.insert(0, np.mean(steps) if steps else 1.0)
    density = [
        step**change * weight**sharpness for step, weight in zip(steps, importance, strict=True)
    ]
    masses = [round(2**20 * value / max(density)) + 1 for value in density]
    starts = cut(masses, k)
    kept, found = [], []
    for first, end in zip(starts, [*starts[1:], len(states)], strict=True):
        best = max(range(first, end), key=lambda i: (importance[i], -i))
        mean = np.average(states[first:end], axis=0, weights=importance[first:end])
        kept.append(best)
        found.append((1 - merge) * states[best] + merge * mean)
    return kept, np.array(found)


@given(
    seeds,
    lengths,
    st.sampled_from([0.0, 0.75, 1.0]),
    st.sampled_from([0.0, 0.25, 1.0]),
    st.sampled_from([0.25, 0.5, 1.0]),
)
def test_segments_equal_the_reference(seed, length, change, sharpness, merge):
    audios, k = length
    rng = np.random.default_rng(seed)
    # long stretches that hardly change, and jumps between them
    states = rng.normal(size=(1 + audios // 7, 6)).repeat(7, axis=0)[:audios]
    states += 0.01 * rng.normal(size=states.shape)
    importance = rng.dirichlet(np.full(audios, 0.3)) + 1e-9
    settings = change, sharpness, merge
    found = segments(torch.from_numpy(importance), torch.from_numpy(states), k, *settings)
    kept, means = reference(importance, states, k, *settings)
    assert found.kept.tolist() == kept
    np.testing.assert_allclose(found.states, means, rtol=1e-9, atol=1e-9)


@given(lengths)
def test_even_change_gives_the_runs_that_begin_where_frame_keeps(length):
    audios, k = length
    starts = runs.of_equal_mass(torch.full((audios,), 0.3), k)
    assert starts.tolist() == frame_indices(audios, k).tolist()


def test_one_token_of_all_the_mass_still_leaves_each_run_a_token():
    for heavy in (0, 4, 9):
        density = torch.zeros(10)
        density[heavy] = 1
        for k in range(1, 11):
            starts = runs.of_equal_mass(density, k)
            assert starts[0] == 0
            assert (starts.diff() > 0).all()
            assert starts[-1] <= 9


def test_segments_begin_where_the_sound_changes():
    east, north = [1.0, 0.0], [0.0, 2.0]
    states = torch.tensor([east] * 6 + [north] * 3 + [east])
    steps = path(states)
    assert steps.nonzero()[:, 0].tolist() == [0, 6, 9]
    assert runs.of_equal_mass(steps, 3).tolist() == [0, 6, 9]
    # all of a segment matters alike, so the first token of each is kept
    assert segments(torch.full((10,), 0.1), states, 3, 1, 0.25, 0).kept.tolist() == [0, 6, 9]


def test_importance_shortens_segments_and_sharpness_0_does_not_see_it():
    torch.manual_seed(0)
    states = torch.randn(200, 16)
    importance = torch.full((200,), 1e-4)
    importance[50:100] = 1e-2
    inside = [
        int(((k >= 50) & (k < 100)).sum())
        for k in (segments(importance, states, 40, 1, sharp, 0).kept for sharp in (0, 0.25, 1))
    ]
    assert inside[0] in (9, 10, 11)
    assert inside[0] < inside[1] < inside[2]


def test_change_shortens_segments_and_change_0_does_not_see_it():
    torch.manual_seed(0)
    states = torch.ones(200, 16) + 0.01 * torch.randn(200, 16)
    states[50:100] = torch.randn(50, 16)
    importance = torch.full((200,), 1e-2)
    inside = [
        int(((k >= 50) & (k < 100)).sum())
        for k in (segments(importance, states, 40, change, 0.1, 0).kept for change in (0, 0.5, 1))
    ]
    assert inside[0] in (9, 10, 11)
    assert inside[0] < inside[1] < inside[2]


def test_importance_that_underflows_leaves_finite_states():
    states = torch.randn(30, 8)
    importance = torch.zeros(30)
    importance[3] = 1
    found = segments(importance, states, 5, 0.75, 0.25, 1)
    assert found.states.isfinite().all()
    assert 3 in found.kept


def test_settings_come_from_the_call_then_the_recipe_then_the_defaults():
    plain = AdaptiveSegments(PROFILE)
    assert plain.router.route == "auto"
    assert plain.settings(10, 100) == {
        "token": "important",
        "change": 0.75,
        "sharpness": 0.1,
        "merge": 0.75,
    }
    settings = {"route": "semantic", "change": 1.0, "sharpness": 0.5, "merge": 0.0}
    recipe = Recipe(text_tokens="after", selector_parameters={"adaptive_segments": settings})
    calibrated = AdaptiveSegments(make_profile(recipe=recipe))
    found = {"token": "important", "change": 1.0, "sharpness": 0.5, "merge": 0.0}
    assert calibrated.settings(10, 100) == found
    assert calibrated.router.route == "semantic"
    assert calibrated.text_tokens == "after"
    given = AdaptiveSegments(
        make_profile(recipe=recipe), merge=1.0, token="first", text_tokens="all"
    )
    assert given.settings(10, 100) == {**found, "merge": 1.0, "token": "first"}
    assert (given.router.route, given.text_tokens) == ("semantic", "all")


def test_each_ratio_has_the_settings_of_the_nearest_that_was_calibrated():
    frame = {"token": "first", "change": 0.0, "sharpness": 0.0, "merge": 0.0}
    bold = {"token": "important", "change": 1.0, "sharpness": 0.25, "merge": 0.75}
    parameters = {"route": "uniform", "by_ratio": {"0.9": bold, "0.5": frame}}
    recipe = Recipe(selector_parameters={"adaptive_segments": parameters})
    selector = AdaptiveSegments(make_profile(recipe=recipe))
    assert selector.settings(5, 100) == selector.settings(10, 100) == bold
    assert selector.settings(29, 100) == bold
    assert selector.settings(30, 100) == selector.settings(90, 100) == frame
    view = make_view(80)
    kept = selector(view, 40)
    assert kept.states is None
    assert kept.kept.tolist() == frame_indices(80, 40).tolist()
    assert selector(view, 8).states is not None


def test_importance_and_routing_are_headrouters():
    view = make_view(80)
    ours = AdaptiveSegments(PROFILE)(view, 20)
    theirs = HeadRouter(PROFILE, exponent=0)(view, 20)
    assert torch.equal(ours.importance, theirs.importance)
    assert torch.equal(ours.spread, theirs.spread)
    assert torch.equal(ours.mixing, theirs.mixing)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"change": 4.1}, "change 4.1 is outside"),
        ({"sharpness": -0.1}, "sharpness -0.1 is outside"),
        ({"sharpness": float("nan")}, "sharpness nan is outside"),
        ({"merge": 1.1}, "merge 1.1 is outside"),
        ({"token": "last"}, "token is 'last'"),
        ({"route": "loud"}, "route is 'loud'"),
        ({"text_tokens": "before"}, "text_tokens is 'before'"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        AdaptiveSegments(PROFILE, **settings)


@torch.no_grad()
def test_what_enters_the_pruning_layer_carries_the_segments():
    inputs = batch([row("system", 20, "which?")])
    model = thinker("sdpa")
    profile = make_profile(model=families.model_info(model, 2))
    entering = model(**inputs, output_hidden_states=True).hidden_states[2]
    states = entering[inputs["input_ids"] == AUDIO]
    found = []
    layer = decoder_layers(model)[2]
    # registered behind the engine's hook, it sees what the layer gets
    with (
        prune(model, AdaptiveSegments(profile), 0.6) as trace,
        layer.register_forward_pre_hook(lambda module, args: found.append(args[0])),
    ):
        model(**inputs)
    importance = trace[0].importance.double().numpy()
    kept, means = reference(importance, states.double().numpy(), 8, 0.75, 0.1, 0.75)
    assert trace[0].kept.tolist() == kept
    first = inputs["input_ids"][0].tolist().index(AUDIO)
    np.testing.assert_allclose(found[0][0, first : first + 8], means, rtol=1e-4, atol=1e-5)
