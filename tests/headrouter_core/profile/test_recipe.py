"""The recipe: every choice by name, and nothing else."""

import json
import math

import pytest

from headrouter_core.errors import (
    ProfileError,
)
from headrouter_core.profile.profile import Recipe

STEP = {"token": "first", "change": 0.0, "sharpness": 0, "merge": 0.5}
BY_RATIO = {"route": "pooled", "by_ratio": {"0.6": STEP, "0.9": {**STEP, "token": "important"}}}
SEGMENTS = {"route": "auto", "change": 1.0, "sharpness": 0.25, "merge": 0.5}


@pytest.mark.parametrize("segments", [SEGMENTS, BY_RATIO])
def test_recipe_survives_json(segments):
    recipe = Recipe(
        layer=3,
        text_tokens="after",
        ablation=("keep_one", "output"),
        selector_parameters={"adaptive_segments": segments},
    )
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("selector", "fastv"),
        ("selector_parameters", {"route": "sideways"}),
        ("selector_parameters", None),
        ("selector_parameters", {"headrouter": {}}),
        ("selector_parameters", {"adaptive_segments": None}),
        ("selector_parameters", {"adaptive_segments": {"route": "auto", "sharpness": 0.25}}),
        ("selector_parameters", {"adaptive_segments": {**SEGMENTS, "segments": 10}}),
        ("selector_parameters", {"adaptive_segments": {**SEGMENTS, "route": "sideways"}}),
        ("selector_parameters", {"adaptive_segments": {**SEGMENTS, "merge": 1.5}}),
        ("selector_parameters", {"adaptive_segments": {**SEGMENTS, "sharpness": "0"}}),
        ("selector_parameters", {"adaptive_segments": {**SEGMENTS, **BY_RATIO}}),
        ("selector_parameters", {"adaptive_segments": {**BY_RATIO, "by_ratio": {}}}),
        ("selector_parameters", {"adaptive_segments": {**BY_RATIO, "by_ratio": [STEP]}}),
        ("selector_parameters", {"adaptive_segments": {**BY_RATIO, "by_ratio": {"1": STEP}}}),
        ("selector_parameters", {"adaptive_segments": {**BY_RATIO, "by_ratio": {"x": STEP}}}),
        ("selector_parameters", {"adaptive_segments": {**BY_RATIO, "by_ratio": {"0.6": {}}}}),
        (
            "selector_parameters",
            {"adaptive_segments": {**BY_RATIO, "by_ratio": {"0.6": {**STEP, "token": "last"}}}},
        ),
        ("layer", 0),
        ("layer", 2.0),
        ("layer", True),
        ("probe_input", "output"),
        ("text_tokens", "before"),
        ("text_tokens", None),
        ("text_tokens", ["all"]),
        ("prefilter_exponent", 1.1),
        ("prefilter_exponent", math.nan),
        ("prefilter_exponent", "0.5"),
        ("ablation", "keep_one"),
        ("ablation", ["keep_two"]),
        ("ablation", ["keep_one", "keep_one"]),
        ("weights_rule", "magic"),
        ("weights_strength", -1),
        ("weights_strength", math.inf),
        ("weights_strength", 10**400),
        ("centers_rule", ""),
        ("bandwidth_rule", 3),
        ("order", "random"),
        ("positions", "renumbered"),
        ("early_cache", "half"),
    ],
)
def test_recipe_refuses_unknown_values(name, value):
    with pytest.raises(ProfileError, match=f"recipe.{name}"):
        Recipe.from_dict(Recipe().to_dict() | {name: value})


@pytest.mark.parametrize("recipe", [{"selector": "headrouter"}, Recipe().to_dict() | {"x": 1}, []])
def test_recipe_refuses_other_keys(recipe):
    with pytest.raises(ProfileError, match="recipe"):
        Recipe.from_dict(recipe)
