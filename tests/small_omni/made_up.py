"""Small parts made up for the tests, in the formats that the real ones come in."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

from small_omni.assembly import RENAMED, Parts
from tiny_omni.questions import corpus

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *RENAMED)
KINDS = {int: 5, float: 6, bool: 7, str: 8, list: 9}


def string(text: str) -> bytes:
    """A string of GGUF."""
    return struct.pack("<Q", len(text.encode())) + text.encode()


def value(given: Any, kind: int | None = None) -> bytes:
    """A value of GGUF's metadata, with its type before it unless it is part of a list."""
    of = KINDS[type(given)]
    head = b"" if kind is not None else struct.pack("<I", of)
    match given:
        case bool():
            return head + struct.pack("<?", given)
        case int():
            return head + struct.pack("<i", given)
        case float():
            return head + struct.pack("<f", given)
        case str():
            return head + string(given)
    inner = KINDS[type(given[0])]
    return (
        head
        + struct.pack("<IQ", inner, len(given))
        + b"".join(value(part, inner) for part in given)
    )


def gguf(metadata: Mapping[str, Any], tensors: Mapping[str, tuple[int, tuple, bytes]]) -> bytes:
    """A GGUF file; a tensor is its ggml type, its shape and its bytes."""
    data = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    data += b"".join(string(key) + value(given) for key, given in metadata.items())
    body = b""
    for name, (kind, shape, content) in tensors.items():
        data += string(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        data += struct.pack("<IQ", kind, len(body))
        body += content + b"\0" * (-len(content) % 32)
    return data + b"\0" * (-len(data) % 32) + body


def ctranslate2(variables: Mapping[str, np.ndarray], aliases: Mapping[str, str] = {}) -> bytes:
    """A ``model.bin`` of CTranslate2."""

    def name(text: str) -> bytes:
        return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"

    kinds = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}
    data = struct.pack("<I", 6) + name("WhisperSpec") + struct.pack("<II", 3, len(variables))
    for key, array in variables.items():
        data += name(key) + struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        data += struct.pack("<BI", kinds[array.dtype.name], array.nbytes) + array.tobytes()
    data += struct.pack("<I", len(aliases))
    return data + b"".join(name(alias) + name(of) for alias, of in aliases.items())


def bpe() -> Tokenizer:
    """A tokenizer as SmolLM2's, trained on tiny-omni's questions."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=list(CONTROL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(corpus(), trainer)
    return made


def whisper(seed: int = 0) -> WhisperForConditionalGeneration:
    """A random Whisper of two narrow layers."""
    torch.manual_seed(seed)
    config = WhisperConfig(
        vocab_size=64,
        num_mel_bins=80,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_source_positions=1500,
        max_target_positions=16,
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), 1),
        decoder_start_token_id=2,
    )
    return WhisperForConditionalGeneration(config).eval()


def llama(words: int, seed: int = 0) -> LlamaForCausalLM:
    """A random Llama with grouped heads and tied embeddings."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=words,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).eval()


def parts() -> Parts:
    """Random parts of the real architecture."""
    tokenizer = bpe()
    state = tokenizer.to_str()
    for old, new in RENAMED.items():
        state = state.replace(old, new)
    renamed = Tokenizer.from_str(state)
    renamed.add_special_tokens([AddedToken(RENAMED.get(t, t), special=True) for t in CONTROL])
    ears, brain = whisper(), llama(renamed.get_vocab_size())
    return Parts(
        whisper=ears.config,
        whisper_state=ears.state_dict(),
        whisper_tokenizer=tokenizer,
        llama=brain.config,
        llama_state=brain.model.state_dict(),
        tokenizer=renamed,
    )
