"""How many tokens are kept, exactly, and which ones Frame keeps."""

import itertools
import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headrouter_core import scoring
from headrouter_core.errors import UsageError

from .checking import reference

SIZES = st.integers(1, 5000)
TENTHS = [Fraction(tenth, 10) for tenth in range(10)]


@given(SIZES, st.integers(0, 9999))
def test_keep_count_is_exact_for_every_way_to_write_a_ratio(n, parts):
    exact = Fraction(parts, 10000)
    expected = max(1, math.floor(n * (1 - exact)))
    decimal = Decimal(parts) / 10000
    spellings = [exact, decimal, str(decimal), float(decimal), np.float64(decimal)]
    assert [scoring.keep_count(n, ratio) for ratio in spellings] == [expected] * len(spellings)


@pytest.mark.parametrize("ratio", TENTHS)
def test_keep_count_for_all_lengths(ratio):
    wrong = [
        n
        for n in range(1, 5001)
        if scoring.keep_count(n, float(ratio))
        != max(1, n * (ratio.denominator - ratio.numerator) // ratio.denominator)
    ]
    assert wrong == []


@pytest.mark.parametrize("n", [1, 2, 10, 33, 100])
@pytest.mark.parametrize("ratio", TENTHS)
def test_keep_count_removes_no_less_than_asked_and_no_more_than_needed(n, ratio):
    assert scoring.keep_count(n, ratio) == reference.keep_count(n, ratio)


def test_keep_count_differs_from_float_arithmetic_where_that_is_wrong():
    assert int(100 * (1 - 0.9)) == 9
    assert scoring.keep_count(100, 0.9) == 10


@given(SIZES, st.floats(0, 1, exclude_max=True))
def test_keep_count_takes_any_float_in_range(n, ratio):
    assert 1 <= scoring.keep_count(n, ratio) <= n


@pytest.mark.parametrize(
    "ratio",
    [1, 1.0, 2, -0.1, "1", "-1e-9", math.nan, math.inf, "nan", "60%", "", None, True, "1/0"],
)
def test_keep_count_refuses_what_is_no_ratio(ratio):
    with pytest.raises(UsageError, match="ratio"):
        scoring.keep_count(10, ratio)


@pytest.mark.parametrize("n", [0, -3])
def test_keep_count_needs_a_token(n):
    with pytest.raises(UsageError, match=str(n)):
        scoring.keep_count(n, 0.5)


@given(st.data(), SIZES, st.floats(0, 1))
def test_prefilter_count_lies_between_k_and_n_and_falls_with_the_exponent(data, n, exponent):
    k = data.draw(st.integers(1, n))
    count = scoring.prefilter_count(n, k, exponent)
    assert k <= count <= n
    assert scoring.prefilter_count(n, k, 0) == scoring.prefilter_count(n, k, 0.0) == n
    assert scoring.prefilter_count(n, k, 1) == scoring.prefilter_count(n, k, 1.0) == k
    assert scoring.prefilter_count(n, k, min(1, exponent + 0.1)) <= count


@pytest.mark.parametrize("power", [2, 3, 4, 5])
def test_prefilter_count_does_not_round_up_whole_numbers(power):
    for large, small in itertools.combinations_with_replacement(range(7, 0, -1), 2):
        for part in range(power + 1):
            count = scoring.prefilter_count(large**power, small**power, part / power)
            assert count == large ** (power - part) * small**part


@given(st.data(), st.integers(1, 15000), st.sampled_from([(1, 4), (1, 3), (1, 2), (2, 3), (3, 4)]))
def test_prefilter_count_is_the_exact_ceiling(data, n, power):
    k = data.draw(st.integers(1, n))
    p, q = power
    product = n ** (q - p) * k**p  # of which the count is the q-th root, rounded up
    count = scoring.prefilter_count(n, k, p / q)
    assert count**q >= product > (count - 1) ** q


@pytest.mark.parametrize("exponent", [-0.01, 1.01, math.nan])
def test_prefilter_count_refuses_other_exponents(exponent):
    with pytest.raises(UsageError, match="exponent"):
        scoring.prefilter_count(10, 5, exponent)


@pytest.mark.parametrize(("n", "k"), [(10, 0), (10, 11), (0, 0)])
def test_counts_out_of_range_are_refused(n, k):
    for call in (
        lambda: scoring.prefilter_count(n, k, 0.5),
        lambda: scoring.frame_indices(n, k),
        lambda: scoring.top_k(torch.zeros(n), k),
    ):
        with pytest.raises(UsageError, match=f"{k} of {n}"):
            call()


@given(st.data(), SIZES)
def test_frame_indices_are_unique_ascending_and_evenly_spaced(data, n):
    k = data.draw(st.integers(1, n))
    kept = scoring.frame_indices(n, k).tolist()
    assert kept == [i * n // k for i in range(k)]
    steps = [b - a for a, b in zip(kept, [*kept[1:], n], strict=True)]
    assert min(steps) >= 1
    assert max(steps) - min(steps) <= 1
