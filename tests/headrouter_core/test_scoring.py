import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headrouter_core import scoring
from headrouter_core.errors import UsageError

from .checking import reference
from .checking.waiting import Watch


def draw(seed, *shape, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# probe


@given(
    st.integers(0, 10**6),
    st.sampled_from([(1, 1), (4, 4), (4, 2), (6, 1)]),
    st.integers(1, 7),
    st.integers(1, 9),
    st.integers(1, 8),
    st.sampled_from([None, 1.0, 0.3]),
)
def test_probe_equals_reference(seed, heads, texts, audios, dim, scale):
    queries, keys = draw(seed, heads[0], texts, dim), draw(seed + 1, heads[1], audios, dim)
    expected = reference.probe(queries.numpy(), keys.numpy(), scale)
    found = scoring.probe(queries, keys, scale)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)
    single = scoring.probe(queries.float(), keys.float(), scale)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single, expected, rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("budget", [1, 200, 1000, 4000])
def test_probe_in_chunks_equals_probe_at_once(monkeypatch, budget):
    queries, keys = draw(1, 8, 13, 4), draw(2, 4, 11, 4)
    whole = scoring.probe(queries, keys)
    monkeypatch.setattr(scoring, "SCORE_BYTES", budget)
    assert scoring._chunks(4, 2, 11, 4, 8) != (4, 13)
    torch.testing.assert_close(scoring.probe(queries, keys), whole, rtol=1e-13, atol=1e-16)


def test_probe_reads_strided_views():
    queries, keys = draw(1, 5, 8, 4), draw(2, 7, 2, 4)
    found = scoring.probe(queries.transpose(0, 1), keys.transpose(0, 1))
    expected = scoring.probe(
        queries.transpose(0, 1).contiguous(), keys.transpose(0, 1).contiguous()
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_probe_of_half_precision_accumulates_in_float32(dtype):
    queries, keys = draw(3, 4, 6, 32).to(dtype), draw(4, 2, 50, 32).to(dtype)
    found = scoring.probe(queries, keys)
    assert found.dtype == torch.float32
    expected = reference.probe(queries.double().numpy(), keys.double().numpy())
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("dtype", "size"),
    [(torch.float16, 6e4), (torch.bfloat16, 1e18), (torch.float32, 1e18), (torch.float64, 1e150)],
)
def test_probe_is_finite_for_extreme_logits(dtype, size):
    queries = (draw(5, 4, 3, 8).sign() * size).to(dtype)
    keys = (draw(6, 2, 9, 8).clamp(-1, 1) * size).to(dtype)
    found = scoring.probe(queries, keys)
    assert found.isfinite().all()
    torch.testing.assert_close(found.sum(1), torch.ones(4, dtype=found.dtype))
    expected = reference.probe(queries.double().numpy(), keys.double().numpy())
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_mixed_dtypes_meet_in_the_wider_one():
    found = scoring.probe(draw(1, 2, 3, 4).bfloat16(), draw(2, 2, 5, 4))
    assert found.dtype == torch.float64


@pytest.mark.parametrize(
    ("queries", "keys"),
    [
        ((4, 3, 8), (2, 5, 7)),
        ((3, 8), (2, 5, 8)),
        ((4, 3, 8), (1, 2, 5, 8)),
        ((4, 0, 8), (2, 5, 8)),
        ((4, 3, 8), (2, 0, 8)),
        ((4, 3, 8), (0, 5, 8)),
        ((4, 3, 8), (3, 5, 8)),
    ],
)
def test_probe_refuses_shapes_that_do_not_fit(queries, keys):
    with pytest.raises(UsageError, match=r"queries|keys"):
        scoring.probe(torch.zeros(queries), torch.zeros(keys))


def test_the_watch_sees_a_synchronisation():
    with pytest.raises(AssertionError, match="waits"), Watch():
        torch.ones(3).sum().item()


def test_no_function_waits_for_the_device():
    queries, keys = draw(1, 4, 6, 8), draw(2, 2, 30, 8)
    with Watch():
        probe = scoring.probe(queries, keys)
        scoring.spread(scoring.selectivity(probe))
        scoring.top_k(scoring.importance(probe, torch.rand(4)), 5)
        scoring.frame_indices(30, 7)


@pytest.mark.parametrize("kv_heads", [2, 32])
def test_probe_of_ten_minutes_stays_in_its_budget(kv_heads):
    queries = torch.empty(32, 2000, 128, dtype=torch.bfloat16, device="meta")
    keys = torch.empty(kv_heads, 15000, 128, dtype=torch.bfloat16, device="meta")
    with Watch() as watch:
        assert scoring.probe(queries, keys).shape == (32, 15000)
    assert watch.largest <= scoring.SCORE_BYTES


# selectivity, spread, importance


@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(2, 40), st.floats(0, 50))
def test_selectivity_and_spread_equal_reference(seed, heads, audios, sharpness):
    probe = (draw(seed, heads, audios) * sharpness).softmax(1)
    expected = reference.selectivity(probe.numpy())
    found = scoring.selectivity(probe)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        scoring.spread(found), reference.spread(expected), rtol=1e-7, atol=1e-9
    )
    single = scoring.selectivity(probe.float())
    np.testing.assert_allclose(single, expected, atol=2e-6)
    for result in (found, single):
        assert result.min() >= 0
        assert result.max() <= 1


def test_selectivity_at_its_ends():
    probe = torch.tensor([[0.25] * 4, [1.0, 0, 0, 0], [0.5, 0.5, 0, 0]])
    torch.testing.assert_close(scoring.selectivity(probe), torch.tensor([0, 1, 0.5]))


def test_rounding_does_not_push_selectivity_below_zero():
    even = torch.stack([torch.full((1000,), 0.001 * (1 + excess)) for excess in (0, 1e-6, -1e-6)])
    assert scoring.selectivity(even).min() == 0


def test_a_single_audio_token_has_no_selectivity():
    assert scoring.selectivity(torch.ones(3, 1)).tolist() == [0, 0, 0]


def test_selectivity_of_half_precision_is_float32():
    assert scoring.selectivity(torch.full((2, 4), 0.25).half()).dtype == torch.float32


def test_spread_is_the_population_deviation():
    torch.testing.assert_close(scoring.spread(torch.tensor([0.1, 0.3])), torch.tensor(0.1))
    assert scoring.spread(torch.tensor([0.7])) == 0


@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(1, 40))
def test_importance_equals_reference(seed, heads, audios):
    probe = draw(seed, heads, audios).softmax(1)
    weights = draw(seed + 1, heads).softmax(0)
    expected = reference.importance(probe.numpy(), weights.numpy())
    np.testing.assert_allclose(scoring.importance(probe, weights), expected, rtol=1e-12)
    np.testing.assert_allclose(scoring.importance(probe, weights).sum(), 1, rtol=1e-12)


@given(
    st.lists(st.sampled_from([0.0, 0.125, 0.5, 1.0, math.nan]), min_size=1, max_size=60), st.data()
)
def test_top_k_equals_reference_with_ties_and_unscored_tokens(values, data):
    k = data.draw(st.integers(1, len(values)))
    kept = scoring.top_k(torch.tensor(values), k)
    assert kept.dtype == torch.int64
    assert kept.tolist() == reference.top_k(values, k)


def test_top_k_of_a_long_tie_is_its_beginning():
    assert scoring.top_k(torch.full((15000,), 0.1), 6000).tolist() == list(range(6000))
