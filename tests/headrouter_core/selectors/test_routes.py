"""Routes beyond the paper's: pooled head weights, and a rule on selectivities."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from headrouter_core import AdaptiveSegments, HeadRouter, routing, scoring
from headrouter_core.errors import ProfileError, UsageError
from headrouter_core.profile.profile import Profile, Recipe

from ..checking.bundles import HEADS, make_profile, make_tensors
from ..checking.views import make_view

POOLED = torch.tensor([0.7, 0.1, 0.1, 0.1])
RULE = torch.tensor([3.0, -2.0, 0.5, 1.0, 0.25], dtype=torch.float64)


def whole(**changes):
    """A profile with everything that a route may need."""
    tensors = make_tensors(**{"weights.pooled": POOLED, "router.selectivity": RULE})
    return make_profile(**{"tensors": tensors, **changes})


def test_the_recipes_route_is_the_default():
    profile = whole(recipe=Recipe(route="pooled"))
    view = make_view(30)
    selection = HeadRouter(profile)(view, 5)
    assert HeadRouter(profile).route == "pooled"
    assert selection.mixing.tolist() == [0, 0, 0, 1]
    probe = scoring.probe(view.queries, view.keys)
    expected = scoring.importance(probe, POOLED)
    np.testing.assert_allclose(selection.importance, expected, rtol=1e-6)
    assert HeadRouter(profile, route="auto").route == "auto"


@pytest.mark.parametrize("route", [*routing.ROUTES, "swapped"])
@pytest.mark.parametrize("kind", [HeadRouter, AdaptiveSegments])
def test_the_shares_of_all_head_weights_sum_to_one(route, kind):
    mixing = kind(whole(), route=route)(make_view(30), 5).mixing
    assert mixing.shape == (4,)
    assert mixing.sum().item() == pytest.approx(1)
    assert (mixing[3].item() == 1) == (route == "pooled")


def test_the_rule_mixes_semantic_and_acoustic_weights():
    view = make_view(30)
    selectivity = scoring.selectivity(scoring.probe(view.queries, view.keys)).double().numpy()
    acoustic = 1 / (1 + np.exp(-(selectivity @ RULE[:-1].numpy() + 0.25)))
    selection = HeadRouter(whole(), route="selectivity")(view, 5)
    np.testing.assert_allclose(selection.mixing, [1 - acoustic, 0, acoustic, 0], rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_rule_is_a_distribution(dtype):
    found = routing.selectivity_mixing(torch.rand(HEADS).to(dtype), RULE * 1e6)
    assert found.dtype == torch.promote_types(dtype, torch.float32)
    assert found.isfinite().all()
    assert found.sum().item() == pytest.approx(1)


def test_a_rule_has_a_number_a_head_and_one():
    with pytest.raises(UsageError, match=r"rule .*\[5\]"):
        routing.selectivity_mixing(torch.rand(HEADS), RULE[:-1])


@pytest.mark.parametrize(
    ("route", "name"), [("pooled", "weights.pooled"), ("selectivity", "router.selectivity")]
)
def test_what_a_route_needs_must_be_there(route, name):
    with pytest.raises(ProfileError, match=f"the bundle lacks {name}"):
        make_profile(recipe=Recipe(route=route))
    settings = {"route": route, "change": 1.0, "sharpness": 0.1, "merge": 0.5}
    with pytest.raises(ProfileError, match=f"the bundle lacks {name}"):
        make_profile(recipe=Recipe(selector_parameters={"adaptive_segments": settings}))
    with pytest.raises(UsageError, match=f"holds no {name}; calibrate again"):
        HeadRouter(make_profile(), route=route)


def test_bundles_without_the_new_parts_load_and_route_as_before(tmp_path):
    from headrouter_core.profile import bundle

    old = make_profile()
    metadata = old.metadata()
    for name in ("route", "weights_unit"):
        metadata["recipe"].pop(name)
    (tmp_path / "old.safetensors").write_bytes(bundle.to_bytes(old.tensors, metadata))
    again = Profile.load(tmp_path / "old.safetensors")
    assert (again.recipe.route, again.recipe.weights_unit) == ("auto", "nat")
    assert again.vectors.shape == (3, HEADS)
    assert again.rule is None
    assert HeadRouter(again)(make_view(30), 5).mixing.shape == (3,)


def test_new_parts_come_back_from_the_file(tmp_path):
    profile = whole(recipe=Recipe(route="selectivity", weights_unit="head_deviation"))
    profile.save(tmp_path / "p.safetensors")
    again = Profile.load(tmp_path / "p.safetensors")
    assert torch.equal(again.vectors[3], POOLED)
    assert torch.equal(again.rule, RULE)
    assert again.recipe == profile.recipe


def test_pooled_weights_are_checked_like_the_others():
    with pytest.raises(ProfileError, match=r"the sum of weights\.pooled"):
        make_profile(tensors=make_tensors(**{"weights.pooled": POOLED * 2}))


def test_the_last_text_token_alone_may_be_probed():
    profile = make_profile(recipe=Recipe(text_tokens="last"))
    assert HeadRouter(profile).text_tokens == "last"
    view = make_view(30)
    last = replace(view, queries=view.queries[:, -1:])
    assert not torch.equal(HeadRouter(profile)(last, 9).kept, HeadRouter(profile)(view, 9).kept)
