"""Sessions of several uses on one model, in force for one caller."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from headrouter_core.engine.sessions.gates import hooked
from headrouter_core.engine.sessions.session import Hooks, Moment, Use
from headrouter_core.errors import UsageError


def test_sessions_of_two_uses_run_at_one_place_in_order() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(1)

    def double(module: Any, args: Any, kwargs: Any) -> Any:
        return (args[0] * 2,), kwargs

    def add(module: Any, args: Any, kwargs: Any) -> Any:
        return (args[0] + 1,), kwargs

    def after(factor: int) -> Any:
        return lambda module, args, output: output * 10 + factor

    pruning: Hooks = {(model, Moment.BEFORE): double, (model, Moment.AFTER): after(1)}
    evicting: Hooks = {(model, Moment.BEFORE): add, (model, Moment.AFTER): after(2)}
    with (
        torch.no_grad(),
        hooked(model, evicting, Use.EVICTING) as outer,
        hooked(model, pruning, Use.PRUNING),
    ):
        assert model(torch.ones(1)).item() == 312  # (1 * 2 + 1), then 1 and 2 behind it
        assert outer.bound(model)(torch.ones(1)).item() == 312
        with (
            pytest.raises(UsageError, match="being evicted from already"),
            hooked(model, evicting, Use.EVICTING),
        ):
            pass
    with torch.no_grad():
        assert model(torch.ones(1)).item() == 1
