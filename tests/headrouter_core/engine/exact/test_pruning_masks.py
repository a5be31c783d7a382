"""Masks of layers from M on, in the form that each kind of attention takes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import StaticCache
from transformers.modeling_flash_attention_utils import _is_packed_sequence

from headrouter_core.engine.shortening.columns import Columns
from headrouter_core.engine.shortening.masks import pruned_mask
from headrouter_core.errors import PruningError
from headrouter_core.families.attention import Attention, Projection
from headrouter_core.pruning.context import prune

from ...checking.guarded import ONE, THREE
from ...checking.probes import Scattered
from ...tiny.families import decoder_layers
from ...tiny.models import batch, thinker


def attention(implementation: str, window: int | None = None) -> Attention:
    module = nn.Module()
    module.config = SimpleNamespace(_attn_implementation=implementation)
    projection = Projection(module, module, 1, 4)
    return Attention(module, projection, projection, 0.5, window)


def columns(valid: list[list[bool]] | None = None, length: int = 5) -> Columns:
    rows = 1 if valid is None else len(valid)
    origin = torch.tensor([0, 1, 2, 5, 6]).expand(rows, -1)  # 3 and 4 were dropped
    return Columns(2, 2, origin, length, None if valid is None else torch.tensor(valid))


def made(implementation: str, of: Columns, queries: int, cache: Any = None, **more: Any) -> Any:
    hidden = torch.zeros(of.origin.shape[0], queries, 4)
    window = more.pop("window", None)
    return pruned_mask(attention(implementation, window), hidden, of, cache, 0, **more)


FLASH = "flash_attention_2"
PADDED = [[True] * 5, [False, False, True, True, True]]


def test_no_mask_where_the_kernel_needs_none() -> None:
    for implementation in ("sdpa", FLASH):
        assert made(implementation, columns(), 5) is None
    assert made("sdpa", columns(), 5, explicit=True).tolist() == [
        [torch.ones(5, 5, dtype=torch.bool).tril().tolist()]
    ]
    assert made(FLASH, columns(), 5, explicit=True) is None
    assert made("eager", columns(), 5).shape == (1, 1, 5, 5)


def test_flash_kernels_get_the_padding_of_kept_tokens() -> None:
    mask = made(FLASH, columns(PADDED), 5)
    assert mask.tolist() == PADDED
    grown = columns(PADDED).grown(1)
    assert made(FLASH, grown, 1).tolist() == [[*row, True] for row in PADDED]
    shown = torch.ones(2, 10, dtype=torch.bool)
    shown[1, -1] = False
    assert made(FLASH, grown.grown(2).seen(shown), 2).tolist() == [
        [*PADDED[0], *[True] * 3],
        [*PADDED[1], True, True, False],
    ]


def test_flash_kernels_see_how_much_of_a_static_cache_is_in_use() -> None:
    config = thinker().config.get_text_config()
    cache = StaticCache(config, max_cache_len=9)
    assert made(FLASH, columns(), 5, cache).tolist() == [[True] * 5]


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_windows_reach_over_dropped_columns(implementation: str) -> None:
    mask = made(implementation, columns(), 5, window=4)[0, 0]
    seen = mask if mask.dtype == torch.bool else mask == 0
    original = torch.tensor([0, 1, 2, 5, 6])
    distance = original[:, None] - original
    assert torch.equal(seen, (distance >= 0) & (distance < 4))


def test_flash_kernels_cannot_have_windows_that_reach_over_dropped_columns() -> None:
    assert made(FLASH, columns(), 5, window=7) is None  # as long as the prompt
    with pytest.raises(PruningError, match=r"sliding window of 6 in kept tokens.*'sdpa'"):
        made(FLASH, columns(), 5, window=6)


@pytest.mark.parametrize("rows", [ONE, THREE])
@torch.no_grad()
def test_gaps_in_positions_never_reach_a_kernel(rows: Any) -> None:
    """With batch 1 and no mask, flash kernels take gaps for the seams of packed sequences."""
    model, seen = thinker("sdpa"), []
    layers = decoder_layers(model)
    inputs = batch(rows)
    positions = torch.arange(inputs["input_ids"].shape[1]).expand(4, len(rows), -1)
    kept = torch.tensor([[0, 1, 2, 5, 6]])
    assert _is_packed_sequence(kept, 1)
    for layer in layers:
        layer.self_attn.register_forward_pre_hook(
            lambda _, args, kwargs: seen.append(kwargs["position_ids"]), with_kwargs=True
        )
    with prune(model, Scattered(), 0.6, 2):
        model(**inputs, position_ids=positions)
    assert [ids is None for ids in seen] == [False] * 2 + [True] * 4
