"""How many audio tokens stay: by ratio or by number, for all rows or each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from headrouter_core.engine.prompt.budget import Budget
from headrouter_core.errors import PruningError, UsageError
from headrouter_core.pruning.context import prune
from headrouter_core.pruning.inputs import prune_inputs

from ...checking.guarded import ONE, THREE, fixture_model
from ...checking.masked import error
from ...checking.probes import Affinity, Scattered
from ...tiny.models import batch, row

model = fixture_model
GREEDY = {"max_new_tokens": 2, "do_sample": False}
TWO = [row("system", 20, "question?"), row("system", 14, "and what?")]


def kept(model: Any, rows: list[list[int]], **asked: Any) -> list[int]:
    with torch.no_grad(), prune(model, Affinity(), **asked) as trace:
        model(**batch(rows))
    return [len(entry.kept) for entry in trace]


def test_one_ratio_a_row(model: Any) -> None:
    assert kept(model, THREE, ratio=[0.6, 0, 0.5]) == [8, 9, 0]
    assert kept(model, THREE, ratio=(0.9, 0.6, 0)) == [2, 3, 0]
    assert kept(model, ONE, ratio=[0.6]) == [8]


@torch.no_grad()
def test_a_list_stays_its_owners(model: Any) -> None:
    ratios = [0.6]
    with prune(model, Affinity(), ratios) as trace:
        ratios[:] = [0.9, 0.9]
        model(**batch(ONE))
    assert [len(entry.kept) for entry in trace] == [8]


def test_a_number_of_tokens(model: Any) -> None:
    assert kept(model, THREE, keep=12) == [12, 9, 0]
    assert kept(model, THREE, keep=[1, 9, 7]) == [1, 9, 0]
    assert kept(model, ONE, keep=1) == [1]


@torch.no_grad()
def test_each_row_is_pruned_as_it_would_be_alone(model: Any) -> None:
    inputs = batch(TWO)
    with prune(model, Affinity(), [0.6, 0.25]):
        both = model(**inputs).logits
    alone = []
    for index, ratio in enumerate((0.6, 0.25)):
        # the same batch, so that audio features are the same; only the row's own ratio counts
        with prune(model, Affinity(), ratio):
            alone.append(model(**inputs).logits[index, -8:])
    for index, wanted in enumerate(alone):
        assert error(both[index, -8:], wanted) < 1e-5


def test_rows_count_once_for_beams(model: Any) -> None:
    with prune(model, Scattered(), keep=[3, 5]) as trace:
        model.generate(**batch(TWO), **GREEDY, num_beams=2, num_return_sequences=2)
    assert [len(entry.kept) for entry in trace] == [3, 5]


def test_numbers_of_numpy() -> None:
    assert Budget(keep=np.int64(4)).kept(9, 0, 1) == 4  # type: ignore[arg-type]
    assert Budget(keep=[np.int32(4)]).kept(9, 0, 1) == 4  # type: ignore[list-item]
    assert Budget(ratio=np.float32(0.6)).kept(10, 0, 1) == 4  # type: ignore[arg-type]
    assert Budget(ratio=[np.float64(0.6)]).kept(10, 0, 1) == 4


def test_another_number_of_rows_is_refused(model: Any) -> None:
    with (
        pytest.raises(PruningError, match=r"ratio holds 2 values, one a row, .* has 3 rows"),
        prune(model, Scattered(), [0.6, 0.5]),
    ):
        model(**batch(THREE))


def test_prune_inputs_takes_the_same(model: Any) -> None:
    pruned = prune_inputs(model, batch(TWO), Affinity(), keep=4)
    assert [len(entry.kept) for entry in pruned.trace] == [4, 4]
    pruned = prune_inputs(model, batch(TWO), Affinity(), [0.6, 0.5])
    assert [len(entry.kept) for entry in pruned.trace] == [8, 7]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, "neither of ratio and keep given"),
        ({"ratio": 0.5, "keep": 3}, "both of ratio and keep given"),
        ({"ratio": []}, "ratio is an empty list"),
        ({"keep": ()}, "keep is an empty list"),
        ({"ratio": [0.5, 1]}, "ratio"),
        ({"ratio": [0.5, None]}, "ratio"),
        ({"ratio": [[0.5]]}, "ratio"),
        ({"keep": 0}, "keep is 0"),
        ({"keep": [3, -1]}, "keep is -1"),
        ({"keep": 2.5}, r"keep is 2\.5"),
        ({"keep": True}, "keep is True"),
        ({"keep": "many"}, "keep is 'many'"),
    ],
)
def test_what_is_no_budget(asked: dict[str, Any], found: str, model: Any) -> None:
    with pytest.raises(UsageError, match=found):
        Budget(**asked)
    with pytest.raises(UsageError, match=found), prune(model, Scattered(), **asked):
        pytest.fail("opened")
