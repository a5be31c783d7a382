"""Budgets in whole numbers, heads put together, and what methods choose, on numbers."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headrouter_core.eviction.budgets import Room, share
from headrouter_core.eviction.deciding import chosen
from headrouter_core.eviction.groups import grouped
from headrouter_core.eviction.methods import (
    H2O,
    AdaKV,
    PyramidKV,
    RandomKV,
    SnapKV,
    StreamingLLM,
    View,
)

numbers = st.lists(st.integers(0, 60), min_size=1, max_size=8)


@given(st.integers(0, 300), numbers, st.data())
def test_a_share_is_whole_and_handed_on(total: int, most: list[int], data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.floats(0, 9), min_size=len(most), max_size=len(most)))
    given_out = share(total, weights, most)
    assert sum(given_out) == min(total, sum(most))
    assert all(0 <= part <= limit for part, limit in zip(given_out, most, strict=True))
    for (a, wa, la), (b, wb, _) in itertools.permutations(
        zip(given_out, weights, most, strict=True), 2
    ):
        if wa >= wb and a < la:  # who is worth more gets more, unless it is full
            assert a >= b - 1


def test_a_share_is_in_proportion() -> None:
    assert share(10, [3, 1, 1], [99, 99, 99]) == [6, 2, 2]
    assert share(10, [3, 1, 1], [4, 99, 99]) == [4, 3, 3]
    assert share(9, [0, 0], [2, 99]) == [2, 7]
    assert share(1, [1, 1], [9, 9]) == [1, 0]


def padded(groups: list[list[int]], lengths: list[int]) -> int:
    return sum(len(group) * max(lengths[head] for head in group) for group in groups)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_heads_are_put_together_with_least_padding(lengths: list[int]) -> None:
    groups = grouped(lengths, most=2, slack=0)
    assert sorted(itertools.chain(*groups)) == list(range(len(lengths)))
    ways = (
        [[h for h, side in enumerate(sides) if side == which] for which in (0, 1)]
        for sides in itertools.product((0, 1), repeat=len(lengths))
    )
    best = min(padded([group for group in way if group], lengths) for way in ways)
    assert padded(groups, lengths) == best
    assert len(grouped(lengths, slack=99)) == 1


def test_a_budget_counts_at_its_decimal_value() -> None:
    room = Room.of([10, 10], [[10, 10], [3, 10]], Fraction("0.7"), 32)
    assert room.budgets == (7, 7)
    assert room.windows == (3, 3)
    assert room.evenly() == [[7, 7], [3, 10]]  # what one does not hold is handed on
    assert Room.of([2], [[2]], Fraction("0.1"), 32).evenly() == [[1]]


def test_the_window_stays_and_of_equal_scores_the_first() -> None:
    scores = torch.tensor([1.0, 3, 2, 3, 0])
    assert chosen(scores, 7, 4).tolist() == [1, 3, 5, 6]
    assert chosen(scores, 7, 3).tolist() == [1, 5, 6]
    assert chosen(scores, 7, 1).tolist() == [6]
    assert chosen(scores, 7, 7).tolist() == list(range(7))


def view(attention: torch.Tensor, sample: int = 0) -> View:
    heads, count = attention.shape
    positions = torch.arange(count).expand(heads, -1)
    return View(1, tuple(range(heads)), positions, attention, sample)


def test_snapkv_pools_by_the_mean_of_neighbours() -> None:
    attention = torch.tensor([[0.0, 0, 5, 0, 0, 0, 10]])
    found = SnapKV(window=1, kernel=5).score(view(attention)).scores
    torch.testing.assert_close(found, torch.tensor([[1.0, 1, 1, 1, 3, 2, 2]]))
    peaks = SnapKV(window=1, kernel=3, pooling="max").score(view(attention)).scores
    assert peaks.tolist() == [[0, 5, 5, 5, 0, 10, 10]]
    assert SnapKV(window=1, kernel=1).score(view(attention)).scores.equal(attention)


def test_adakv_gives_to_the_head_whose_attention_is_wide() -> None:
    wide, narrow = torch.full((20,), 0.05), torch.zeros(20)
    narrow[3] = 1.0
    room = Room((10,), (2,), ((22, 22),))
    method = AdaKV(window=2, kernel=1, floor=0.25)
    (counts,) = method.share(room, [[narrow, wide]])
    assert counts == [4, 16]  # two of its window, two of its floor
    assert AdaKV(window=2, kernel=1, floor=1).share(room, [[narrow, wide]]) == [[10, 10]]


def test_streaming_keeps_sinks_and_the_last() -> None:
    scores = StreamingLLM(sinks=2).score(view(torch.zeros(1, 9))).scores[0]
    assert chosen(scores, 10, 5).tolist() == [0, 1, 7, 8, 9]


def test_random_does_not_hang_on_batching() -> None:
    method, one = RandomKV(seed=3), view(torch.zeros(2, 9))
    both = method.score(one).scores
    alone = method.score(View(1, (1,), one.positions[1:], None, 0)).scores
    assert alone[0].equal(both[1])
    assert not both[0].equal(both[1])
    assert not method.score(view(torch.zeros(2, 9), sample=1)).scores.equal(both)
    with pytest.raises(AssertionError):
        SnapKV().score(View(1, (0,), one.positions, None, 0))


def test_pyramidkv_falls_from_layer_to_layer_and_keeps_the_total() -> None:
    room = Room((22,) * 5, (2,) * 5, ((99, 99),) * 5)
    counts = PyramidKV(beta=20).share(room, [])
    assert sum(map(sum, counts)) == 220
    assert [layer[0] for layer in counts] == sorted((c[0] for c in counts), reverse=True)
    assert counts[0][0] == 41  # 2 of the window, and 1.95 times 20
    assert counts[4] == [3, 3]
    assert PyramidKV(beta=1).share(room, []) == [[22, 22]] * 5


def test_h2o_keeps_half_of_its_budget_for_the_last() -> None:
    room = Room.of([10], [[10, 10]], Fraction("0.4"), H2O.window)
    assert room.windows == (2,)
    attention = torch.tensor([[5.0, 1, 4, 0, 0, 0, 0, 0]])
    scores = H2O().score(view(attention)).scores[0]
    assert chosen(scores, 10, 4).tolist() == [0, 2, 8, 9]
