"""Attention over heads that hold different columns, registered with transformers.

transformers looks an attention function up by the name in a module's configuration. While a context
is open on a model, each of its attention modules has a copy of that configuration with a name of
ours, which leads on to the function of the name that was there: what is not evicted from gets the
same call, and so the same bits. Only where a cache hands on a layer of ours is it done here.
"""

from __future__ import annotations

import copy
import functools
import inspect
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface

from headrouter_core.errors import EvictionError, UnsupportedModelError
from headrouter_core.eviction.groups import Group
from headrouter_core.eviction.layer import HeldLayer
from headrouter_core.eviction.watching import check_mask

_PREFIX = "headrouter_"
#: Arguments that change what attention is, and that nothing is known of here.
_UNKNOWN = ("softcap", "s_aux", "position_bias")


@contextmanager
def attending(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Have attention modules call what is here until the block ends; contexts share that.

    Raises:
        UnsupportedModelError: a module's attention cannot be led here.
    """
    with ExitStack() as standing:
        for module in modules:
            with _lock:
                _put_up(module)
            standing.callback(_take_off, module)
        yield


_lock = threading.RLock()
#: How many contexts there are, the configuration that was there, and ours.
_standing: weakref.WeakKeyDictionary[nn.Module, tuple[int, Any, Any]] = weakref.WeakKeyDictionary()


def _put_up(module: Any) -> None:
    if module in _standing:
        count, given, own = _standing[module]
    else:
        given = module.config
        count, own = 0, copy.copy(given)
        name = _registered(given._attn_implementation)
        own._attn_implementation_internal = name  # the setter would set those of all parts
        if own._attn_implementation != name or not _found(module, given._attn_implementation):
            raise UnsupportedModelError(
                f"{type(module).__name__} does not look its attention up in transformers'"
                " AttentionInterface, so the cache cannot be evicted from"
            )
        module.config = own
    _standing[module] = count + 1, given, own


def _take_off(module: nn.Module) -> None:
    with _lock:
        count, given, own = _standing.pop(module)
        if count > 1:
            _standing[module] = count - 1, given, own
        elif module.config is own:  # unless somebody else has set it meanwhile
            module.config = given


def _registered(base: str) -> str:
    """Register our attention for what was led to ``base``, masks included; return its name.

    Raises:
        UnsupportedModelError: masks of ``base`` are of a form that is not known here.
    """
    if base not in ("eager", "sdpa") and not base.startswith(("flash_attention", "kernels")):
        raise UnsupportedModelError(
            f"attention {base!r} cannot be evicted from; load the model with"
            " attn_implementation='sdpa', 'eager' or 'flash_attention_2'"
        )
    name = _PREFIX + base
    AttentionInterface.register(name, functools.partial(_attend, base))
    if base in ALL_MASK_ATTENTION_FUNCTIONS:
        AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[base])
    return name


def _found(module: nn.Module, base: str) -> Callable[..., Any] | None:
    """Return the function that a module's own code finds by a name; ``None``: it does not look."""
    code: Any = inspect.unwrap(type(module).forward)
    known = code.__globals__.get("ALL_ATTENTION_FUNCTIONS")
    eager = code.__globals__.get("eager_attention_forward")
    if known is None or eager is None:
        return None
    return known.get_interface(base, eager)  # type: ignore[no-any-return]


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _attend(
    base: str,
    module: nn.Module,
    query: torch.Tensor,
    key: Any,
    value: Any,
    attention_mask: Any,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Attend, whether or not the cache is evicted from; arguments are those of transformers."""
    whole = _found(module, base)
    assert whole is not None
    if not isinstance(key, HeldLayer):
        return whole(module, query, key, value, attention_mask, **kwargs)  # type: ignore[no-any-return]
    for name in _UNKNOWN:
        if kwargs.get(name) is not None:
            raise EvictionError(
                f"{type(module).__name__} attends with {name}, which is not known to be exact when"
                " a cache is evicted from; use another model"
            )
    key.look(query, attention_mask, kwargs.get("scaling"))
    if key.groups is None:
        return whole(module, query, key.keys, key.values, attention_mask, **kwargs)  # type: ignore[no-any-return]
    return held_attention(
        query,
        key.groups,
        key.length - query.shape[2],
        attention_mask,
        scale=kwargs.get("scaling"),
        window=kwargs.get("sliding_window"),
        dropout=kwargs.get("dropout", 0.0),
    ), None


def held_attention(
    query: torch.Tensor,
    groups: Sequence[Group],
    first: int,
    mask: Any,
    *,
    scale: float | None,
    window: int | None = None,
    dropout: float = 0.0,
) -> torch.Tensor:
    """Return the attention [B, Q, H, d_v] of queries to what each head holds.

    Args:
        query: [B, H, Q, d]; the query heads of a KV head stand together.
        groups: what the KV heads hold, the columns of the queries included.
        first: column of the first query.
        mask: over all columns of the sequence, as transformers made it, or ``None``.
        scale: of the affinities; ``None``: 1/sqrt(d).
        window: reach of a sliding window in columns.
        dropout: probability.
    """
    rows, _, count, _ = query.shape
    heads = sum(len(group.heads) for group in groups)
    queries = query.unflatten(1, (heads, -1))
    shared, width = queries.shape[2], groups[0].values.shape[-1]
    out = query.new_empty(rows, heads, shared, count, width)
    for group in groups:
        # query heads of one KV head are so many more queries of it: nothing is repeated
        asked = queries[:, group.heads].flatten(2, 3)
        bias = _bias(group, first, count, mask, window, query.dtype)
        bias = bias[:, :, None].expand(-1, -1, shared, -1, -1).flatten(2, 3)
        got = scaled_dot_product_attention(
            asked, group.keys, group.values, attn_mask=bias, dropout_p=dropout, scale=scale
        )
        out[:, group.heads] = got.unflatten(2, (shared, count))
    return out.flatten(1, 2).transpose(1, 2).contiguous()


def _bias(
    group: Group, first: int, count: int, mask: Any, window: int | None, dtype: torch.dtype
) -> torch.Tensor:
    """Return what is added to affinities [B, h, Q, C]: the least number where nothing is seen.

    Not minus infinity: a query at padding sees nothing at all, and must not become NaN.
    """
    columns = group.positions[:, :, None]
    queries = torch.arange(first, first + count, device=columns.device)[:, None]
    seen = group.filled()[:, :, None] & (columns <= queries)
    if window is not None:
        seen &= columns > queries - window
    least = torch.finfo(dtype).min
    if mask is None:
        return torch.zeros_like(seen, dtype=dtype).masked_fill_(~seen, least)
    if isinstance(mask, torch.Tensor) and mask.ndim == 2:  # flash attention is given padding only
        mask = mask[:, None, None].bool()
    check_mask(mask)
    shape = (*seen.shape[:2], count)
    wide = mask.expand(*shape, -1).gather(-1, columns.expand(*shape, -1))
    if wide.dtype == torch.bool:
        return torch.zeros_like(seen, dtype=dtype).masked_fill_(~(seen & wide), least)
    bias: torch.Tensor = wide.to(dtype).masked_fill(~seen, least)
    return bias
