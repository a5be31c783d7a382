"""Models whose parts take other names than are relied on are refused, with version and contract."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import transformers
from torch import nn
from transformers import DynamicCache

from headrouter_core import families
from headrouter_core.errors import PruningError, UnsupportedModelError
from headrouter_core.families.calls import cache_name
from headrouter_core.families.contract import check_library
from headrouter_core.pruning.context import prune

from ..checking.guarded import ONE
from ..checking.probes import Scattered
from ..tiny.families import decoder_layers
from ..tiny.models import batch, thinker


def renamed(module: nn.Module, forward: Any) -> None:
    """Give a module a class of its own with another ``forward``."""
    module.__class__ = type("Renamed", (type(module),), {"forward": forward})


def no_cache(self: Any, hidden_states: Any, attention_mask: Any, position_embeddings: Any) -> None:
    """A layer that takes its cache in another object."""


def other_first(
    self: Any,
    states: Any,
    hidden_states: Any,
    attention_mask: Any,
    position_embeddings: Any,
    cache: Any,
) -> None:
    """A layer that takes something before its hidden states."""


def unrotated(self: Any, hidden_states: Any, attention_mask: Any, cache: Any) -> None:
    """An attention that makes its own phases."""


@pytest.mark.parametrize(
    ("forward", "part", "match"),
    [
        (no_cache, "layer", "Renamed takes no cache"),
        (other_first, "layer", "Renamed takes states first"),
        (unrotated, "attention", "Renamed takes no position_embeddings"),
        (unrotated, "model", "Renamed takes no input_ids"),
    ],
)
def test_other_names(forward: Any, part: str, match: str) -> None:
    model = thinker()
    layer = decoder_layers(model)[3]
    renamed({"layer": layer, "attention": layer.self_attn, "model": model}[part], forward)
    with pytest.raises(UnsupportedModelError, match=match) as refusal:
        families.locate(model)
    assert f"transformers {transformers.__version__} " in str(refusal.value)


def test_the_installed_transformers_keeps_to_it() -> None:
    check_library()


@contextmanager
def given(layer: nn.Module, **more: Any) -> Iterator[None]:
    """Give a layer other arguments than its model does."""

    def change(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        return args, {**kwargs, **more}

    handle = layer.register_forward_pre_hook(change, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def test_a_layer_that_is_not_given_the_cache() -> None:
    model = thinker()
    layer = decoder_layers(model)[3]
    name = cache_name(type(layer).forward)
    assert name is not None
    broken = pytest.raises(UnsupportedModelError, match="is not given the cache")
    # in front of the engine's own hooks
    with given(layer, **{name: None}), broken, prune(model, Scattered(), 0.6, 2):
        model(**batch(ONE), use_cache=True)


@torch.no_grad()
def test_a_layer_that_is_given_something_else_for_each_token() -> None:
    model, prompt = thinker(), batch(ONE)
    more = torch.zeros(prompt["input_ids"].shape)
    broken = pytest.raises(UnsupportedModelError, match=r"is given weights \[.*one for each token")
    with given(decoder_layers(model)[2], weights=more), broken, prune(model, Scattered(), 0.6, 2):
        model(**prompt)


@torch.no_grad()
def test_a_cache_that_is_none_of_transformers() -> None:
    class Wrapped:
        def __init__(self) -> None:
            self.cache = DynamicCache()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.cache, name)

    model = thinker()
    refused = pytest.raises(PruningError, match="the cache is a Wrapped, which cannot be pruned")
    with refused, prune(model, Scattered(), 0.6, 2):
        model(**batch(ONE), past_key_values=Wrapped(), use_cache=True)
