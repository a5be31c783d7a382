"""Whisper, from CTranslate2's names to transformers' names."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from transformers import WhisperConfig

#: Whisper's control tokens (multilingual vocabulary) that begin an English transcript.
START, END = (50258, 50259, 50359, 50363), 50257

State = dict[str, torch.Tensor]


def config(variables: Mapping[str, np.ndarray]) -> WhisperConfig:
    """The configuration that the shapes tell."""
    width, mels, _ = variables["encoder/conv1/weight"].shape
    layers = {side: _layers(variables, side) for side in ("encoder", "decoder")}
    heads = int(variables["encoder/num_heads"])
    feed_forward = len(variables["encoder/layer_0/ffn/linear_0/bias"])
    return WhisperConfig(
        vocab_size=len(variables["decoder/embeddings/weight"]),
        num_mel_bins=mels,
        d_model=width,
        encoder_layers=layers["encoder"],
        decoder_layers=layers["decoder"],
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=feed_forward,
        decoder_ffn_dim=feed_forward,
        max_source_positions=len(variables["encoder/position_encodings/encodings"]),
        max_target_positions=len(variables["decoder/position_encodings/encodings"]),
        # START and END say which tokens start and end: nothing here generates by itself
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )


def state(variables: Mapping[str, np.ndarray]) -> State:
    """The weights of ``WhisperForConditionalGeneration``, float32."""
    source = _Source(variables)
    weights: State = {}
    for side in ("encoder", "decoder"):
        root = f"model.{side}"
        weights[f"{root}.embed_positions.weight"] = source[f"{side}/position_encodings/encodings"]
        weights |= source.norm(f"{side}/layer_norm", f"{root}.layer_norm")
        for number in range(_layers(variables, side)):
            weights |= _layer(source, f"{side}/layer_{number}", f"{root}.layers.{number}")
    for name in ("conv1", "conv2"):
        weights |= source.linear(f"encoder/{name}", f"model.encoder.{name}")
    embedding = source["decoder/embeddings/weight"]
    return weights | {"model.decoder.embed_tokens.weight": embedding, "proj_out.weight": embedding}


def _layer(source: _Source, theirs: str, ours: str) -> State:
    """One layer; a decoder's has an attention to the encoder besides."""
    weights: State = {}
    attention = source.split(f"{theirs}/self_attention/linear_0", 3)
    for name, part in zip(("q_proj", "k_proj", "v_proj"), attention, strict=True):
        weights |= _linear(f"{ours}.self_attn.{name}", *part)
    weights |= source.linear(f"{theirs}/self_attention/linear_1", f"{ours}.self_attn.out_proj")
    weights |= source.norm(f"{theirs}/self_attention/layer_norm", f"{ours}.self_attn_layer_norm")
    if f"{theirs}/attention/linear_0/weight" in source:
        weights |= source.linear(f"{theirs}/attention/linear_0", f"{ours}.encoder_attn.q_proj")
        for name, part in zip(
            ("k_proj", "v_proj"), source.split(f"{theirs}/attention/linear_1", 2), strict=True
        ):
            weights |= _linear(f"{ours}.encoder_attn.{name}", *part)
        weights |= source.linear(f"{theirs}/attention/linear_2", f"{ours}.encoder_attn.out_proj")
        weights |= source.norm(f"{theirs}/attention/layer_norm", f"{ours}.encoder_attn_layer_norm")
    weights |= source.linear(f"{theirs}/ffn/linear_0", f"{ours}.fc1")
    weights |= source.linear(f"{theirs}/ffn/linear_1", f"{ours}.fc2")
    weights |= source.norm(f"{theirs}/ffn/layer_norm", f"{ours}.final_layer_norm")
    return weights


def _linear(name: str, weight: torch.Tensor, bias: torch.Tensor) -> State:
    """A projection. Whisper's keys have no bias, and CTranslate2 writes zeros for it."""
    if name.endswith("k_proj"):
        if bias.any():
            raise ValueError(f"{name} has a bias, which Whisper's keys do not have")
        return {f"{name}.weight": weight}
    return {f"{name}.weight": weight, f"{name}.bias": bias}


class _Source:
    """CTranslate2's variables as float32 tensors."""

    def __init__(self, variables: Mapping[str, np.ndarray]) -> None:
        self._variables = variables

    def __contains__(self, name: str) -> bool:
        return name in self._variables

    def __getitem__(self, name: str) -> torch.Tensor:
        return torch.from_numpy(self._variables[name].astype(np.float32))

    def linear(self, theirs: str, ours: str) -> State:
        return {f"{ours}.weight": self[f"{theirs}/weight"], f"{ours}.bias": self[f"{theirs}/bias"]}

    def norm(self, theirs: str, ours: str) -> State:
        return {f"{ours}.weight": self[f"{theirs}/gamma"], f"{ours}.bias": self[f"{theirs}/beta"]}

    def split(self, theirs: str, count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """The projections that CTranslate2 stacks into one."""
        weights = self[f"{theirs}/weight"].chunk(count)
        return list(zip(weights, self[f"{theirs}/bias"].chunk(count), strict=True))


def _layers(variables: Mapping[str, np.ndarray], side: str) -> int:
    numbers = {name.split("/")[1] for name in variables if name.startswith(f"{side}/layer_")}
    return len(numbers - {"layer_norm"})
