"""Flash attention without its kernels: dense stand-ins, and a watch on how they are called.

All of transformers' own way to the kernels stays: masks, unpadding, and the guess whether positions
belong to several sequences packed into one row.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import modeling_flash_attention_utils as utils


def dense(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
) -> torch.Tensor:
    """Return the attention [B, Q, H, d] of queries over keys [B, K, H_kv, d].

    The last query is as late as the last key; it sees ``window_size[0]`` keys before its own.
    """
    queries, keys = torch.arange(q.shape[1]) + k.shape[1] - q.shape[1], torch.arange(k.shape[1])
    distance = queries[:, None] - keys
    seen = distance >= 0 if causal else distance == distance
    if window_size[0] >= 0:
        seen &= distance <= window_size[0]
    q, k, v = (states.transpose(1, 2) for states in (q, k, v))
    out = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=seen, scale=softmax_scale, enable_gqa=True
    )
    return out.transpose(1, 2)


def varlen(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    cu_seqlens_q: torch.Tensor,
    cu_seqlens_k: torch.Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
) -> torch.Tensor:
    """Return the same for sequences behind one another: queries [sum of Q, H, d]."""
    pieces = []
    for one in range(len(cu_seqlens_q) - 1):
        at, of = slice(*cu_seqlens_q[one : one + 2]), slice(*cu_seqlens_k[one : one + 2])
        states = q[at][None], k[of][None], v[of][None]
        pieces.append(dense(*states, dropout_p, softmax_scale, causal, window_size)[0])
    return torch.cat(pieces)


def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the stand-ins in the place of the kernels."""
    functions = dense, varlen, None, utils._pad_input, utils._unpad_input
    monkeypatch.setattr(utils, "_lazy_imports", lambda *_, **__: functions)
    # whatever is loaded now is loaded anew, here and afterwards
    monkeypatch.setattr(utils, "_loaded_implementation", None)


def missing_kernels(implementation: str) -> str | None:
    """Return what keeps the real kernels of an implementation from being loaded, if anything does.

    A package that is not there, or does not fit this torch; or kernels that would be fetched.
    """
    try:
        utils.lazy_import_flash_attention(implementation)
    except Exception as error:
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    return None


def watch_packing(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return a list that grows by whether each call's positions were taken for packed sequences."""
    found: list[bool] = []
    guess = utils._is_packed_sequence

    def watched(position_ids: Any, batch_size: int) -> Any:
        packed = guess(position_ids, batch_size)
        found.append(bool(packed))
        return packed

    monkeypatch.setattr(utils, "_is_packed_sequence", watched)
    return found
