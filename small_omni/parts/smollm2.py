"""SmolLM2, from a GGUF file to transformers' names, and its tokenizer."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig

from small_omni.parts.gguf import GGUF

#: GGUF's type of tokens that steer, and are not text.
_CONTROL = 3
_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


def config(gguf: GGUF) -> LlamaConfig:
    """The configuration that the file's metadata tells."""
    of = {key.removeprefix("llama."): value for key, value in gguf.metadata.items()}
    return LlamaConfig(
        vocab_size=len(of["tokenizer.ggml.tokens"]),
        hidden_size=of["embedding_length"],
        intermediate_size=of["feed_forward_length"],
        num_hidden_layers=of["block_count"],
        num_attention_heads=of["attention.head_count"],
        num_key_value_heads=of["attention.head_count_kv"],
        rms_norm_eps=of["attention.layer_norm_rms_epsilon"],
        max_position_embeddings=of["context_length"],
        rope_parameters={"rope_type": "default", "rope_theta": of["rope.freq_base"]},
        bos_token_id=of["tokenizer.ggml.bos_token_id"],
        eos_token_id=of["tokenizer.ggml.eos_token_id"],
        tie_word_embeddings=True,
    )


def state(gguf: GGUF) -> dict[str, torch.Tensor]:
    """The weights of ``LlamaModel``, float32; the head is the embedding."""
    heads = {
        "attn_q": gguf.metadata["llama.attention.head_count"],
        "attn_k": gguf.metadata["llama.attention.head_count_kv"],
    }
    weights = {}
    for name in gguf.names:
        values = gguf.tensor(name)
        match name.removesuffix(".weight").split("."):
            case ["blk", number, part]:
                if part in heads:
                    values = _halves(values, heads[part])
                weights[f"layers.{number}.{_NAMES[part]}.weight"] = torch.from_numpy(values)
            case ["token_embd"]:
                weights["embed_tokens.weight"] = torch.from_numpy(values)
            case ["output_norm"]:
                weights["norm.weight"] = torch.from_numpy(values)
            case _:
                raise ValueError(f"{name} is no weight of a tied Llama")
    return weights


def _halves(rows: np.ndarray, heads: int) -> np.ndarray:
    """Undo llama.cpp's order of the rows of a head, which its rotary encoding pairs up."""
    size = rows.shape[0] // heads // 2
    paired = rows.reshape(heads, size, 2, -1).swapaxes(1, 2)
    return np.ascontiguousarray(paired).reshape(rows.shape)


def tokenizer(gguf: GGUF, renamed: dict[str, str]) -> Tokenizer:
    """The byte-level BPE, digits one by one; ``renamed`` control tokens take new names."""
    of: dict[str, Any] = gguf.metadata
    kinds = of["tokenizer.ggml.token_type"]
    names = [renamed.get(token, token) for token in of["tokenizer.ggml.tokens"]]
    missing = set(renamed) - set(of["tokenizer.ggml.tokens"])
    if missing:
        raise ValueError(f"the tokenizer has no {', '.join(sorted(missing))}")
    merges = [tuple(merge.split(" ")) for merge in of["tokenizer.ggml.merges"]]
    bpe = Tokenizer(models.BPE({name: number for number, name in enumerate(names)}, merges))
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    control = [name for name, kind in zip(names, kinds, strict=True) if kind == _CONTROL]
    bpe.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in control])
    return bpe
