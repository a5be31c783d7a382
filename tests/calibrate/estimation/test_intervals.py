"""Intervals over clusters: as scipy has them, as wide as they have to be, and Holm beside them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap, norm, t, ttest_1samp

from calibrate.estimation.choosing import intervals
from calibrate.estimation.choosing.intervals import (
    FEW,
    holm,
    interval,
    mean_interval,
    numbered,
    weights,
)


def test_many_clusters_give_the_bca_of_scipy():
    """Of means over clusters of unequal size, at the level that Student's t asks for."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 9, 40)
    values = rng.exponential(1, sizes.sum())
    names = np.repeat(np.arange(40), sizes).astype(str).tolist()
    found = mean_interval(values, names, resamples=20_000)
    owner = numbered(names)
    sums, counts = np.bincount(owner, weights=values), np.bincount(owner)
    level = 1 - 2 * norm.sf(t.isf(0.025, 39) * np.sqrt(40 / 39))
    wanted = bootstrap(
        (sums, counts), lambda s, n, axis: s.sum(axis) / n.sum(axis), paired=True,
        n_resamples=20_000, confidence_level=level, method="BCa", rng=1,
    ).confidence_interval  # fmt: skip
    assert found.low == pytest.approx(wanted.low, abs=0.015)
    assert found.high == pytest.approx(wanted.high, abs=0.015)
    assert found.high - values.mean() > 1.1 * (values.mean() - found.low)  # skewed as the data are


@pytest.mark.parametrize("count", [2, 3, FEW - 1])
def test_few_clusters_give_student(count):
    values = np.random.default_rng(count).normal(1, 1, count)
    found = mean_interval(values, [str(index) for index in range(count)])
    wanted = ttest_1samp(values, 0)
    assert (found.low, found.high) == pytest.approx(tuple(wanted.confidence_interval()))
    assert found.p == pytest.approx(wanted.pvalue)


def test_p_is_student_with_many_clusters_too():
    values = np.random.default_rng(1).normal(0.3, 1, 50)
    found = mean_interval(values, [str(index) for index in range(50)])
    assert found.p == pytest.approx(ttest_1samp(values, 0).pvalue)


def test_coverage_with_few_clusters():
    """Percentile intervals of two speakers cover half."""
    rng = np.random.default_rng(0)
    hits = [
        found.low <= 0 <= found.high
        for found in (
            mean_interval(rng.normal(0, 1, 3), ["a", "b", "c"], resamples=50) for _ in range(300)
        )
    ]
    assert np.mean(hits) > 0.9


def test_over_clusters_is_wider_than_over_samples():
    values = np.repeat(np.random.default_rng(1).standard_normal(10), 20)
    clustered = mean_interval(values, [str(index // 20) for index in range(200)])
    single = mean_interval(values, [str(index) for index in range(200)])
    assert clustered.high - clustered.low > 3 * (single.high - single.low)


def test_what_lies_behind_counts():
    """What one background clip does to all its samples is no evidence of 100 speakers."""
    rng = np.random.default_rng(2)
    behind = [f"bed{index % 8}" for index in range(200)]
    values = rng.normal(0, 1, 8)[numbered(behind)] + rng.normal(0, 0.2, 200)
    speakers = [str(index // 2) for index in range(200)]
    alone, both = mean_interval(values, speakers), mean_interval(values, speakers, behind)
    assert both.high - both.low > 2 * (alone.high - alone.low)
    assert both.p > alone.p
    nothing = mean_interval(values, speakers, [""] * 200)
    assert (nothing.low, nothing.high) == (alone.low, alone.high)


def test_samples_without_a_cluster_are_always_there():
    taken = weights([np.array([0, 0, 1, -1])], np.random.default_rng(0), 100)
    assert (taken[:, 3] == 1).all()
    assert (taken[:, 0] == taken[:, 1]).all()
    assert set(taken[:, 2].tolist()) == {0, 1, 2}


def test_one_cluster_and_no_difference():
    assert mean_interval(np.array([1.0, 3.0]), ["a", "a"]) == intervals.Interval(2.0, 2.0, 1.0)
    assert mean_interval(np.zeros(4), list("abcd")) == intervals.Interval(0.0, 0.0, 1.0)
    assert mean_interval(np.ones(4), list("abcd")).p == 0.0
    assert np.isnan(interval(1.0, np.ones(9), [np.ones(1)]).low)


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_what_it_is_defined_as(p):
    """A hypothesis falls at a level if it and all with smaller p do, each at its own share."""
    found = holm(p)
    for level in (0.01, 0.05, 0.3):
        order = sorted(range(len(p)), key=lambda index: p[index])
        rejected = set()
        for rank, index in enumerate(order):
            if (len(p) - rank) * p[index] > level:
                break
            rejected.add(index)
        assert {index for index, value in enumerate(found) if value <= level} == rejected


def test_holm_leaves_out_what_was_not_tested():
    assert holm([0.01, np.nan, 0.04])[0] == 0.02
    assert np.isnan(holm([0.01, np.nan, 0.04])[1])
    assert holm([]) == []
