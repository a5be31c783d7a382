"""Weights, routing and intervals from numbers whose answer is known."""

import numpy as np
import pytest

from calibrate.estimation.ablation import BOTH_KINDS, Ablation, head_variants, mean_and_error
from calibrate.estimation.choosing.fitting import (
    fit_routing,
    fit_rule,
    head_weights,
    one_standard_error,
    shrunk,
    utilities,
)

HEADS = 8


def effects_of(keep_one, noise, samples=40, seed=0):
    """Keep-one effects [S, R, H] with the given means."""
    rng = np.random.default_rng(seed)
    return keep_one + noise * rng.standard_normal((samples, 2, len(keep_one)))


def fitted(effects, kind="keep_one", strength=4.0):
    """Head weights of samples that are all of one task and of many speakers."""
    tasks, clusters = ["a"] * len(effects), [str(index) for index in range(len(effects))]
    return head_weights(*utilities(effects, kind, tasks, clusters), strength)


def test_head_that_alone_gives_a_low_loss_gets_the_most_weight():
    weights = fitted(effects_of(np.linspace(-0.2, 0.5, HEADS), 0.01))
    assert weights.sum() == pytest.approx(1)
    assert (np.diff(weights) < 0).all()


def test_head_whose_removal_hurts_gets_the_most_weight():
    effects = np.zeros((10, 1, HEADS))
    effects[:, :, 3] = 0.4
    assert fitted(effects, "leave_one_out").argmax() == 3


def test_strength_zero_is_uniform():
    weights = fitted(effects_of(np.arange(HEADS) / 10, 0.1), strength=0.0)
    np.testing.assert_allclose(weights, 1 / HEADS)


def test_groups_whose_utilities_vary_less_get_weights_as_bold():
    """Speech tasks vary 20 times as much between heads as sounds: one strength has to suit both."""
    effects = effects_of(np.linspace(-0.2, 0.5, HEADS), 0.01)
    np.testing.assert_allclose(fitted(effects), fitted(effects / 20), rtol=1e-9)


def test_pure_noise_is_shrunk_towards_uniform():
    far = farther = 0.0
    for seed in range(50):
        effects = effects_of(np.zeros(HEADS), 0.5, seed=seed)
        far += np.abs(fitted(effects) - 1 / HEADS).sum()
        utility = -effects.mean(axis=(0, 1))
        unshrunk = np.exp(4.0 * utility / utility.std(ddof=1))
        farther += np.abs(unshrunk / unshrunk.sum() - 1 / HEADS).sum()
    assert far < 0.5 * farther


def test_shrinkage_is_the_empirical_bayes_rule():
    utility, error = np.array([0.0, 0.2, 0.4]), np.array([0.1, 0.1, 0.05])
    signal = utility.var(ddof=1) - np.mean(error**2)
    expected = 0.2 + (utility - 0.2) * signal / (signal + error**2)
    np.testing.assert_allclose(shrunk(utility, error), expected)
    np.testing.assert_allclose(shrunk(utility, error * 10), 0.2)


def test_how_hard_a_sample_or_a_task_is_for_all_heads_is_no_noise():
    effects = effects_of(np.linspace(0, 1, HEADS), 0.05)
    rng = np.random.default_rng(1)
    tasks, clusters = ["a", "b"] * 20, [str(index) for index in range(40)]
    hard = effects + 3 * rng.standard_normal((40, 1, 1))
    np.testing.assert_allclose(
        utilities(hard, "keep_one", tasks, clusters),
        utilities(effects, "keep_one", tasks, clusters),
        atol=1e-12,
    )
    other = effects.copy()
    other[1::2, :, 0] += 5  # head 0 is useless for one of the tasks, always
    error = utilities(other, "keep_one", tasks, clusters)[1]
    mixed = utilities(other, "keep_one", ["a"] * 40, clusters)[1]
    assert error[0] < 0.1 * mixed[0]


def test_standard_error_is_that_of_the_mean_over_samples_not_over_ratios():
    rows = np.random.default_rng(0).standard_normal((30, 4))
    mean, error = mean_and_error(rows)
    np.testing.assert_allclose(mean, rows.mean(0))
    np.testing.assert_allclose(error, rows.std(0, ddof=1) / np.sqrt(30))
    # one ratio repeated adds no information
    effects = effects_of(np.zeros(HEADS), 1.0)[:, :1]
    names = [str(index) for index in range(40)]
    found = [
        utilities(part, "keep_one", ["a"] * 40, names)[1]
        for part in (effects, np.concatenate([effects] * 2, axis=1))
    ]
    np.testing.assert_allclose(*found)


def test_samples_of_one_speaker_count_as_one():
    speakers = np.random.default_rng(0).standard_normal((12, 1))
    repeated = np.repeat(speakers, 5, axis=0)
    names = [str(index // 5) for index in range(60)]
    found = mean_and_error(repeated, clusters=names)
    np.testing.assert_allclose(found, mean_and_error(speakers))
    # and where a task has a single speaker, nothing tells how speakers differ
    assert mean_and_error(speakers, clusters=["one"] * 12)[1] == mean_and_error(speakers)[1]


def test_strata_count_alike_and_their_distance_is_no_noise():
    rng = np.random.default_rng(0)
    few, many = rng.standard_normal((4, 1)), 10 + rng.standard_normal((40, 1))
    mean, error = mean_and_error(np.concatenate([few, many]), ["few"] * 4 + ["many"] * 40)
    assert mean == pytest.approx((few.mean() + many.mean()) / 2)
    parts = [rows.std(ddof=1) / np.sqrt(len(rows)) for rows in (few, many)]
    assert error == pytest.approx(np.hypot(*parts) / 2)
    # a stratum of one sample tells no spread
    alone = np.concatenate([few, many[:1]])
    np.testing.assert_allclose(mean_and_error(alone, ["a"] * 4 + ["b"]), mean_and_error(alone))


def test_ablation_by_task():
    effects = np.arange(4 * 2 * 1 * 3, dtype=float).reshape(4, 2, 1, 3)
    ablation = Ablation(effects, (0.6,), BOTH_KINDS)
    means, errors = ablation.by_task(["a", "b"], ["b", "a", "b", "a"], list("wxyz"))
    assert means.shape == errors.shape == (2, 2, 1, 3)
    np.testing.assert_allclose(means[:, 0], effects[[1, 3]].mean(0))
    np.testing.assert_allclose(means[:, 1], effects[[0, 2]].mean(0))
    np.testing.assert_allclose(errors[:, 0], effects[[1, 3]].std(0, ddof=1) / np.sqrt(2))


def test_head_variants():
    variants = head_variants(3, BOTH_KINDS).numpy()
    np.testing.assert_allclose(variants.sum(1), 1)
    np.testing.assert_allclose(variants[0], [1 / 3] * 3)
    np.testing.assert_allclose(variants[1], [0, 0.5, 0.5])
    np.testing.assert_allclose(variants[4], [1, 0, 0])
    np.testing.assert_allclose(head_variants(3).numpy(), variants[[0, 4, 5, 6]])


def test_a_rule_separates_what_can_be_separated():
    rng = np.random.default_rng(0)
    acoustic = np.arange(80) % 2 == 1
    selectivities = 0.1 + 0.02 * rng.standard_normal((80, 5))
    selectivities[acoustic, 2] += 0.1
    rule = fit_rule(selectivities, acoustic)
    assert rule.shape == (6,)
    told = selectivities @ rule[:-1] + rule[-1] > 0
    assert (told == acoustic).mean() > 0.95
    assert rule[:-1].argmax() == 2
    # the slope of the penalised likelihood is zero: this is the optimum
    chance = 1 / (1 + np.exp(-(selectivities @ rule[:-1] + rule[-1])))
    scale = selectivities.std(0)
    slope = (chance - acoustic) @ (selectivities - selectivities.mean(0)) + rule[:-1] * scale**2
    np.testing.assert_allclose(slope, 0, atol=1e-8)


def test_a_rule_of_heads_that_say_nothing_is_even():
    rule = fit_rule(np.full((10, 3), 0.2), np.arange(10) % 2 == 1)
    np.testing.assert_allclose(rule, 0, atol=1e-9)


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
