"""Models whose parts take other names than are relied on are refused, with version and contract."""

from __future__ import annotations

from typing import Any

import pytest
import transformers
from torch import nn

from headrouter_core import families
from headrouter_core.contract import check_library
from headrouter_core.errors import UnsupportedModelError

from .tiny_families import decoder_layers
from .tiny_models import thinker


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
