"""Weights, routing and intervals from numbers whose answer is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrate.estimation.ablation import KINDS, Ablation, head_variants, mean_and_error
from calibrate.estimation.choosing.fitting import (
    bootstrap_interval,
    fit_routing,
    head_weights,
    one_standard_error,
    shrunk,
    utilities,
)

HEADS = 8


def effects_of(keep_one, noise, samples=40, seed=0):
    """Ablation effects [S, A, R, H] whose keep-one part has the given means."""
    rng = np.random.default_rng(seed)
    effects = np.zeros((samples, len(KINDS), 2, len(keep_one)))
    effects[:, KINDS.index("keep_one")] = keep_one
    return effects + noise * rng.standard_normal(effects.shape)


def test_head_that_alone_gives_a_low_loss_gets_the_most_weight():
    losses = np.linspace(-0.2, 0.5, HEADS)
    weights = head_weights(effects_of(losses, 0.01), "keep_one", 4.0)
    assert weights.sum() == pytest.approx(1)
    assert (np.diff(weights) < 0).all()


def test_head_whose_removal_hurts_gets_the_most_weight():
    effects = np.zeros((10, len(KINDS), 1, HEADS))
    effects[:, KINDS.index("leave_one_out"), :, 3] = 0.4
    weights = head_weights(effects, "leave_one_out", 4.0)
    assert weights.argmax() == 3


def test_strength_zero_is_uniform():
    weights = head_weights(effects_of(np.arange(HEADS) / 10, 0.1), "keep_one", 0.0)
    np.testing.assert_allclose(weights, 1 / HEADS)


def test_pure_noise_is_shrunk_towards_uniform():
    strength = 8.0
    noisy = [
        head_weights(effects_of(np.zeros(HEADS), 0.5, seed=seed), "keep_one", strength)
        for seed in range(50)
    ]
    utility = [
        utilities(effects_of(np.zeros(HEADS), 0.5, seed=s), "keep_one")[0] for s in range(50)
    ]
    unshrunk = [np.exp(strength * u) / np.exp(strength * u).sum() for u in utility]
    far = np.mean([np.abs(w - 1 / HEADS).sum() for w in noisy])
    farther = np.mean([np.abs(w - 1 / HEADS).sum() for w in unshrunk])
    assert far < 0.5 * farther


def test_shrinkage_is_the_empirical_bayes_rule():
    utility, error = np.array([0.0, 0.2, 0.4]), np.array([0.1, 0.1, 0.05])
    signal = utility.var(ddof=1) - np.mean(error**2)
    expected = 0.2 + (utility - 0.2) * signal / (signal + error**2)
    np.testing.assert_allclose(shrunk(utility, error), expected)
    np.testing.assert_allclose(shrunk(utility, error * 10), 0.2)


def test_standard_error_is_that_of_the_mean_over_samples_not_over_ratios():
    rows = np.random.default_rng(0).standard_normal((30, 4))
    mean, error = mean_and_error(rows)
    np.testing.assert_allclose(mean, rows.mean(0))
    np.testing.assert_allclose(error, rows.std(0, ddof=1) / np.sqrt(30))
    # one ratio repeated adds no information
    effects = effects_of(np.zeros(HEADS), 1.0)
    doubled = np.concatenate([effects[:, :, :1]] * 2, axis=2)
    np.testing.assert_allclose(
        utilities(doubled, "keep_one")[1], utilities(effects[:, :, :1], "keep_one")[1]
    )


def test_ablation_by_task():
    effects = np.arange(4 * 2 * 1 * 3, dtype=float).reshape(4, 2, 1, 3)
    means, errors = Ablation(effects, (0.6,)).by_task(["a", "b"], ["b", "a", "b", "a"])
    assert means.shape == errors.shape == (2, 2, 1, 3)
    np.testing.assert_allclose(means[:, 0], effects[[1, 3]].mean(0))
    np.testing.assert_allclose(means[:, 1], effects[[0, 2]].mean(0))
    np.testing.assert_allclose(errors[:, 0], effects[[1, 3]].std(0, ddof=1) / np.sqrt(2))


def test_head_variants():
    variants = head_variants(3).numpy()
    np.testing.assert_allclose(variants.sum(1), 1)
    np.testing.assert_allclose(variants[0], [1 / 3] * 3)
    np.testing.assert_allclose(variants[1], [0, 0.5, 0.5])
    np.testing.assert_allclose(variants[4], [1, 0, 0])


def test_routing_centers_and_bandwidth():
    spreads = np.array([0.1, 0.2, 0.5, 0.7])
    acoustic = np.array([False, False, True, True])
    fitted = fit_routing(spreads, acoustic, factor=2.0)
    np.testing.assert_allclose(fitted.centers, [0.15, 0.375, 0.6])
    pooled = np.sqrt((2 * 0.05**2 + 2 * 0.1**2) / 2)
    assert fitted.bandwidth == pytest.approx(2 * pooled)


def test_routing_assumes_no_order_and_needs_both_groups():
    swapped = fit_routing(np.array([0.5, 0.1]), np.array([False, True]))
    assert swapped.centers[0] > swapped.centers[2]
    assert swapped.bandwidth > 0
    with pytest.raises(ValueError, match="both groups"):
        fit_routing(np.array([0.5, 0.1]), np.array([True, True]))


def test_one_standard_error_prefers_the_simple():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((50, 3))
    assert one_standard_error(noise * 0.5) == 0
    clear = noise * 0.01 + np.array([1.0, 0.5, 0.1])
    assert one_standard_error(clear) == 2
    assert one_standard_error(np.zeros((5, 3))) == 0


@given(st.integers(2, 40), st.integers(1, 10))
def test_bootstrap_interval_holds_the_mean_and_respects_clusters(samples, clusters):
    rng = np.random.default_rng(samples)
    values = rng.standard_normal(samples)
    names = [str(index % clusters) for index in range(samples)]
    low, high = bootstrap_interval(values, names, np.random.default_rng(0), repeats=200)
    assert values.min() <= low <= high <= values.max()
    if clusters == 1:
        assert low == pytest.approx(high) == pytest.approx(values.mean())


def test_bootstrap_over_clusters_is_wider_than_over_samples():
    rng = np.random.default_rng(1)
    values = np.repeat(rng.standard_normal(10), 20)
    clustered = [str(index // 20) for index in range(200)]
    single = [str(index) for index in range(200)]
    low, high = bootstrap_interval(values, clustered, np.random.default_rng(0))
    narrow_low, narrow_high = bootstrap_interval(values, single, np.random.default_rng(0))
    assert high - low > 3 * (narrow_high - narrow_low)
