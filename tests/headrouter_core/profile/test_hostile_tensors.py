"""Tensors and content that no profile may hold, from a file or made in Python."""

import math
import os

import pytest
import torch

from headrouter_core.errors import ProfileError
from headrouter_core.profile import bundle

from ..checking.bundles import make_calibration, make_info, make_profile, make_tensors
from .hostile import METADATA, refuse

# the tensors


@pytest.mark.parametrize("name", sorted(make_tensors()))
def test_a_missing_tensor(name):
    tensors = make_tensors()
    del tensors[name]
    with pytest.raises(ProfileError, match=f"lacks {name}"):
        make_profile(tensors=tensors)


def test_an_unknown_tensor():
    with pytest.raises(ProfileError, match=r"weights\.magic"):
        make_profile(tensors=make_tensors(**{"weights.magic": torch.ones(4)}))


@pytest.mark.parametrize("name", sorted(make_tensors()))
def test_another_shape_or_dtype(name):
    tensor = make_tensors()[name]
    for wrong in (tensor[None], tensor[:0], tensor.half(), torch.cat([tensor, tensor])):
        with pytest.raises(ProfileError, match=rf"^{name} is torch\..* must be torch\."):
            make_profile(tensors=make_tensors(**{name: wrong}))


@pytest.mark.parametrize("name", sorted(set(make_tensors()) - {"calibration.audio_tokens"}))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity(tmp_path, name, value):
    tensor = make_tensors()[name].clone()
    tensor.view(-1)[-1] = value
    with pytest.raises(ProfileError, match=f"{name} holds NaN"):
        make_profile(tensors=make_tensors(**{name: tensor}))
    content = bundle.to_bytes(make_tensors(**{name: tensor}), METADATA)
    refuse(tmp_path, content, f"{name} holds NaN")


@pytest.mark.parametrize("group", ["semantic", "uniform", "acoustic"])
@pytest.mark.parametrize(
    ("weights", "match"),
    [
        ([0.0, 0.0, 0.0, 0.0], "sum of"),
        ([1.5, -0.5, 0.0, 0.0], "lowest of"),
        ([0.25, 0.25, 0.25, 0.2501 + 1e-4], "sum of"),
        ([1.0, 1.0, 1.0, 1.0], "sum of"),
    ],
)
def test_weights_that_are_none(group, weights, match):
    name = f"weights.{group}"
    with pytest.raises(ProfileError, match=f"the {match} {name}"):
        make_profile(tensors=make_tensors(**{name: torch.tensor(weights)}))


@pytest.mark.parametrize("value", [0.0, -0.02])
def test_a_bandwidth_that_is_not_positive(value):
    tensor = torch.tensor([value], dtype=torch.float64)
    with pytest.raises(ProfileError, match="bandwidth is"):
        make_profile(tensors=make_tensors(bandwidth=tensor))


# profiles made in Python


def test_a_dtype_that_contradicts_the_model():
    with pytest.raises(ProfileError, match=r"calibration\.dtype is 'float16'"):
        make_profile(calibration=make_calibration(dtype="float16"))


def test_content_that_is_not_json():
    with pytest.raises(ProfileError, match="cannot be written as JSON"):
        make_profile(results={"nll": math.nan})
    with pytest.raises(ProfileError, match="cannot be written as JSON"):
        make_profile(results={"tensor": torch.ones(1)})


def test_a_path_of_this_machine_is_kept_out():
    with pytest.raises(ProfileError, match=r"model\.id"):
        make_profile(model=make_info(id=os.path.abspath("model")))
