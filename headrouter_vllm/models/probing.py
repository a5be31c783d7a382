"""The first layers of a vLLM decoder, run once on a whole prompt for the probe to read.

vLLM's own modules on [L, D], but for attention, which here is a plain causal one without a cache.
"""

from __future__ import annotations

from typing import Any

import torch
from vllm.forward_context import set_forward_context

from headrouter_core.engine.prompt.budget import Budget
from headrouter_core.engine.prompt.reading import Reader
from headrouter_core.profile.model_info import ModelInfo, fingerprint
from headrouter_core.selectors.base import View


def probed(
    decoder: Any,
    prompt: torch.Tensor,
    states: torch.Tensor,
    tokens: tuple[int, tuple[int, ...]],
    text_tokens: str,
    layer: int,
    vllm_config: Any,
) -> View:
    """Return what layers 0..M-1 make of a prompt.

    Args:
        decoder: vLLM's, with ``layers`` and ``embed_input_ids``.
        prompt: LongTensor [_], with one placeholder for the audio.
        states: [N_a, D], the audio's embeddings.
        tokens: the placeholder's id, and those of markers.
        text_tokens: which text is probed.
        layer: M.
        vllm_config: experts are looked up in it.
    """
    placeholder, markers = tokens
    at = int((prompt == placeholder).nonzero()[0, 0])
    whole = torch.cat([prompt[:at], prompt[at].expand(len(states)), prompt[at + 1 :]])
    embeds = decoder.embed_input_ids(whole)
    embeds[at : at + len(states)] = states.to(embeds)
    reader = Reader((placeholder,), markers, text_tokens, Budget(keep=1))
    ids = whole.cpu()
    row = reader.row(ids, torch.ones_like(ids, dtype=torch.bool), len(ids)).on(embeds.device)
    # of no step of the scheduler: attention here needs none of its metadata, but experts are found
    # by name in the configuration of whatever runs
    with set_forward_context(None, vllm_config, num_tokens=len(embeds)):
        queries, keys, entering, scale = _beginning(decoder, embeds, layer)
    return View(
        len(row.audio),
        embeds.device,
        0,
        queries=queries[row.text].transpose(0, 1),
        keys=keys[row.audio].transpose(0, 1),
        scale=scale,
        hidden_states=entering[row.audio],
    )


def _beginning(
    decoder: Any, hidden: torch.Tensor, layer: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]:
    """Return queries [L, H, d] and keys [L, H_kv, d] of layer M-1, un-rotated; M's input; scale."""
    # text and audio of one prompt: all three axes of a position count alike
    positions = torch.arange(len(hidden), device=hidden.device).expand(3, -1)
    residual: Any = None
    for block in decoder.layers[:layer]:
        attn = block.self_attn
        if residual is None:
            residual, hidden = hidden, block.input_layernorm(hidden)
        else:
            hidden, residual = block.input_layernorm(hidden, residual)
        projected, _ = attn.qkv_proj(hidden)
        query, key, value = projected.split([attn.q_size, attn.kv_size, attn.kv_size], dim=-1)
        query, key, value = (
            part.unflatten(-1, (-1, attn.head_dim)) for part in (query, key, value)
        )
        if hasattr(attn, "q_norm"):
            query, key = attn.q_norm(query.contiguous()), attn.k_norm(key.contiguous())
        # rotation may be in place
        turned = attn.rotary_emb(positions, query.flatten(1).clone(), key.flatten(1).clone())
        turned_query, turned_key = (part.unflatten(-1, (-1, attn.head_dim)) for part in turned)
        mixed = torch.nn.functional.scaled_dot_product_attention(
            turned_query.transpose(0, 1)[None],
            turned_key.transpose(0, 1)[None],
            value.transpose(0, 1)[None],
            is_causal=True,
            scale=attn.scaling,
            enable_gqa=True,
        )
        hidden, _ = attn.o_proj(mixed[0].transpose(0, 1).flatten(1))
        hidden, residual = block.post_attention_layernorm(hidden, residual)
        hidden = block.mlp(hidden)
    return query, key, hidden + residual, attn.scaling


def described(decoder: Any, layer: int, family: str, model_config: Any) -> ModelInfo:
    """Return the facts that bind a profile to a model, as ``headrouter_core.families`` has them."""
    attn = decoder.layers[layer - 1].self_attn
    weights = []
    for name in ("weight", "bias"):
        whole = getattr(attn.qkv_proj, name, None)
        # vLLM's parameters are subclasses of torch's, plain as they are
        parts = (None, None)
        if whole is not None:
            parts = (
                whole.detach()
                .as_subclass(torch.Tensor)
                .split([attn.q_size, attn.kv_size, attn.kv_size])[:2]
            )
        weights.append(parts)
    known = weights[0][0] is not None
    return ModelInfo(
        id=str(model_config.model).rstrip("/").rpartition("/")[2],
        revision=None,
        family=family,
        layers=len(decoder.layers),
        heads=attn.num_heads,
        kv_heads=attn.num_kv_heads,
        head_dim=attn.head_dim,
        probe_layer=layer - 1,
        fingerprint=fingerprint(list(zip(*weights, strict=True))) if known else None,
        dtype=str(model_config.dtype).removeprefix("torch."),
    )
