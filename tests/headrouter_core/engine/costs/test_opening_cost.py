"""What opening a context may not do twice: hash the probe layer's weights, read packages' metadata.

Counted, not timed.
"""

from __future__ import annotations

import copy
import importlib.metadata
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch

from headrouter_core import families
from headrouter_core.errors import ProfileMismatchError
from headrouter_core.profile import model_info, profile
from headrouter_core.pruning.context import prune
from headrouter_core.selectors import HeadRouter

from ...checking.bundles import make_profile
from ...checking.guarded import ONE, not_opened
from ...tiny.models import batch, thinker


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count weights that are hashed and versions that are looked up."""
    counts: Counter[str] = Counter()

    def counted(module: Any, name: str) -> None:
        real = getattr(module, name)

        def call(*args: Any) -> Any:
            counts.update([name])
            return real(*args)

        monkeypatch.setattr(module, name, call)

    counted(model_info, "_bfloat16_bytes")
    counted(importlib.metadata, "version")
    monkeypatch.setattr(model_info, "_fingerprints", {})
    profile._installed.cache_clear()
    return counts


def test_nothing_is_hashed_or_looked_up_twice(counts: Counter[str]) -> None:
    model = thinker("sdpa", num_hidden_layers=3)
    selector = HeadRouter(make_profile(model=families.model_info(model, 2)))
    assert counts == {"_bfloat16_bytes": 4}  # weight and bias of q_proj and of k_proj
    for each in (model, model, copy.deepcopy(model)):
        with torch.no_grad(), prune(each, selector, 0.6):
            each(**batch(ONE))
    assert counts == {"_bfloat16_bytes": 4, "version": 2}  # torch's and transformers'


def in_place(weight: torch.nn.Parameter) -> None:
    with torch.no_grad():
        weight[3, 5] += 1


def behind_autograd(weight: torch.nn.Parameter) -> None:
    weight.data[3, 5] += 1


def by_numpy(weight: torch.nn.Parameter) -> None:
    weight.detach().numpy()[3, 5] += 1


def rows_exchanged(weight: torch.nn.Parameter) -> None:
    weight.data[[0, 1]] = weight.data[[1, 0]]


def columns_exchanged(weight: torch.nn.Parameter) -> None:
    weight.data[:, [0, 1]] = weight.data[:, [1, 0]]


def of_another_sign(weight: torch.nn.Parameter) -> None:
    weight.data.neg_()


def replaced(weight: torch.nn.Parameter) -> None:
    weight.data = weight.data * 2


@pytest.mark.parametrize(
    "change",
    [
        in_place,
        behind_autograd,
        by_numpy,
        rows_exchanged,
        columns_exchanged,
        of_another_sign,
        replaced,
    ],
)
@pytest.mark.parametrize("name", ["q_proj", "k_proj"])
def test_changed_weights_are_noticed(
    name: str, change: Callable[[torch.nn.Parameter], None]
) -> None:
    model = thinker("sdpa", num_hidden_layers=3)
    selector = HeadRouter(make_profile(model=families.model_info(model, 2)))
    with torch.no_grad(), prune(model, selector, 0.6):
        model(**batch(ONE))
    change(getattr(families.locate(model).layers[1].self_attn, name).weight)
    not_opened("fingerprint", model, selector, 0.6, kind=ProfileMismatchError)


def test_fingerprints_are_forgotten_in_time(counts: Counter[str]) -> None:
    weights = [torch.full((2, 3), float(index)) for index in range(model_info._REMEMBERED + 1)]
    for weight in [*weights, weights[-1], weights[0]]:
        model_info.fingerprint([(weight, None)])
    assert counts["_bfloat16_bytes"] == len(weights) + 1
    assert len(model_info._fingerprints) == model_info._REMEMBERED
