"""A model that is checked after each test to be as it was, and refusals."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from torch import nn

from headrouter_core.errors import PruningError
from headrouter_core.pruning.context import prune
from headrouter_core.selectors.base import Selector

from ..tiny.models import batch, row, thinker
from .probes import Scattered

ONE = [row("system", 20, "question?")]
THREE = [*ONE, row("s", 9, "why"), row("only text")]


def hook_count(model: nn.Module) -> int:
    """Return the number of hooks on a model and all its parts."""
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()
    )


@functools.cache
def shared() -> Any:
    return thinker("sdpa")


@pytest.fixture(name="model")
def fixture_model() -> Iterator[Any]:
    """Give a thinker; afterwards it has no hook or attribute more, and is free to be pruned."""
    model = shared()
    before, hooks = set(vars(model)), hook_count(model)
    yield model
    assert hook_count(model) == hooks
    assert set(vars(model)) == before
    with prune(model, Scattered(), 0.6):
        model(**batch(ONE))


def not_opened(
    match: str,
    model: nn.Module,
    selector: Selector,
    ratio: Any,
    layer: int | None = None,
    *,
    kind: type[BaseException],
) -> None:
    """Check that no context opens, for this reason."""
    with pytest.raises(kind, match=match), prune(model, selector, ratio, layer):
        pytest.fail("opened")


@contextmanager
def refused(
    match: str,
    model: nn.Module,
    selector: Selector,
    ratio: Any,
    layer: int | None = None,
    *,
    kind: type[BaseException] = PruningError,
) -> Iterator[None]:
    """Expect an error from what is done in a pruning context, or from closing it."""
    with pytest.raises(kind, match=match), prune(model, selector, ratio, layer):
        yield
