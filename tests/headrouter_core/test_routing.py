import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headrouter_core import routing
from headrouter_core.errors import UsageError

from .checking import reference

CENTERS = torch.tensor([0.16, 0.12, 0.09], dtype=torch.float64)
SPREADS = st.floats(0, 0.5)


def scalar(value, dtype=torch.float64):
    return torch.tensor(value, dtype=dtype)


@given(SPREADS, st.lists(SPREADS, min_size=3, max_size=3), st.floats(0.02, 1))
def test_mixing_equals_reference(spread, centers, bandwidth):
    found = routing.mixing(scalar(spread), scalar(centers), bandwidth)
    expected = reference.mixing(spread, centers, bandwidth)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-15)


@given(
    st.floats(0, 1, width=32),
    st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3),
    st.floats(1e-320, 1e300),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    st.booleans(),
)
def test_mixing_is_a_distribution_for_any_bandwidth(spread, centers, bandwidth, dtype, tensor):
    bandwidth = scalar([bandwidth]) if tensor else bandwidth
    found = routing.mixing(scalar(spread, dtype), scalar(centers), bandwidth)
    assert found.dtype == torch.promote_types(dtype, torch.float32)
    assert found.isfinite().all()
    assert found.min() >= 0
    torch.testing.assert_close(found.sum(), torch.ones((), dtype=found.dtype))


@pytest.mark.parametrize("bandwidth", [1e-320, 1e-60, 1e-4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_vanishing_bandwidth_takes_the_nearest_center(bandwidth, dtype):
    assert routing.mixing(scalar(0.1, dtype), CENTERS, bandwidth).tolist() == [0, 0, 1]


def test_a_vast_bandwidth_is_even():
    found = routing.mixing(scalar(0.1), CENTERS, 1e300)
    torch.testing.assert_close(found, torch.full((3,), 1 / 3, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_centers_share_their_weight(dtype):
    found = routing.mixing(scalar(0.1, dtype), scalar([0.2, 0.2, 0.9]), 1e-320)
    assert found.tolist() == [0.5, 0.5, 0]


def test_the_order_is_semantic_uniform_acoustic():
    assert routing.GROUPS == ("semantic", "uniform", "acoustic")
    nearest = [routing.mixing(mu, CENTERS, 0.005).argmax().item() for mu in CENTERS]
    assert nearest == [0, 1, 2]


def test_an_undefined_spread_stays_undefined():
    assert routing.mixing(scalar(math.nan), CENTERS, 0.1).isnan().all()


@pytest.mark.parametrize("bandwidth", [0, -1.0, math.nan])
def test_a_bandwidth_that_is_not_positive_is_refused(bandwidth):
    with pytest.raises(UsageError, match="bandwidth"):
        routing.mixing(scalar(0.1), CENTERS, bandwidth)


@given(SPREADS, st.lists(SPREADS, min_size=3, max_size=3))
def test_hard_mixing_takes_the_first_nearest_center(spread, centers):
    distances = [abs(spread - center) for center in centers]
    expected = [float(i == distances.index(min(distances))) for i in range(3)]
    assert routing.hard_mixing(scalar(spread), scalar(centers)).tolist() == expected


@given(st.integers(0, 10**6), st.integers(1, 32))
def test_route_weights_equals_reference(seed, heads):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.rand(3, generator=generator, dtype=torch.float64).softmax(0)
    weights = torch.rand(3, heads, generator=generator, dtype=torch.float64).softmax(1)
    found = routing.route_weights(mixing, weights)
    np.testing.assert_allclose(
        found, reference.route_weights(mixing.numpy(), weights.numpy()), rtol=1e-12
    )
    np.testing.assert_allclose(found.sum(), 1, rtol=1e-12)


def test_route_weights_of_one_group_are_its_own():
    weights = torch.rand(3, 16)
    for index, mixing in enumerate(torch.eye(3)):
        assert torch.equal(routing.route_weights(mixing, weights), weights[index])
