"""Models with random weights in a given shape, and profiles that fit them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import (
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
)

from benchmarks.subjects.shapes import Shape
from headrouter_core import Profile
from headrouter_core.families import model_info
from headrouter_core.profile.profile import Recipe


def thinker_config(shape: Shape) -> Qwen2_5OmniThinkerConfig:
    """Return the configuration of a thinker."""
    ids: dict[str, Any] = dict(shape.tokens)
    # read by the position code for images, absent from the config class
    extra = {name: ids.pop(name) for name in ("vision_start_token_id", "vision_end_token_id")}
    config = Qwen2_5OmniThinkerConfig(
        audio_config=dict(shape.audio),
        vision_config=dict(shape.vision),
        text_config=dict(shape.text),
        tie_word_embeddings=False,
        **ids,
    )
    for name, token in extra.items():
        setattr(config, name, token)
    config._attn_implementation = "sdpa"
    return config


def random_thinker(shape: Shape, device: torch.device, seed: int) -> Any:
    """Return a thinker whose weights are drawn where it will run, in the dtype it will run in.

    No copy of them ever exists on the host: a thinker of 7B is there in seconds. Rotary frequencies
    and the encoder's sinusoids are the real ones, in float32, as the model's constructor makes
    them.
    """
    torch.manual_seed(seed)
    with torch.device(device), _default_dtype(getattr(torch, shape.dtype)):
        model = Qwen2_5OmniThinkerForConditionalGeneration(thinker_config(shape))
    model.eval().requires_grad_(False)
    # random weights end an answer by chance, and every run has to be equally long
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    return model


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def parameters(model: nn.Module) -> int:
    """Return how many weights a model has."""
    return sum(part.numel() for part in model.parameters())


def drawn_profile(model: nn.Module, layer: int, seed: int) -> Profile:
    """Return a profile with drawn weights that fits a model: sound, and worth nothing.

    What it costs to use it is what a calibrated one costs.
    """
    info = dataclasses.replace(model_info(model, layer), id="random")
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(3, info.heads, generator=generator)
    weights = drawn / drawn.sum(1, keepdim=True)
    recipe = Recipe(layer=layer)
    none = torch.zeros(len(recipe.ablation), 1, 1, info.heads)
    return Profile(
        tensors={
            "weights.semantic": weights[0],
            "weights.uniform": torch.full((info.heads,), 1 / info.heads),
            "weights.acoustic": weights[2],
            "centers": torch.tensor([0.01, 0.02, 0.03], dtype=torch.float64),
            "bandwidth": torch.tensor([0.01], dtype=torch.float64),
            "calibration.selectivity": torch.zeros(1, info.heads),
            "calibration.spread": torch.zeros(1, dtype=torch.float64),
            "calibration.audio_tokens": torch.tensor([1]),
            "calibration.ablation": none,
            "calibration.ablation_stderr": none.clone(),
        },
        model=info,
        recipe=recipe,
        calibration={
            "manifest": None,
            "samples": ["none"],
            "sample_tasks": ["none"],
            "tasks": ["none"],
            "groups": {"none": "semantic"},
            "ratios": [0.6],
            "seed": seed,
            "dtype": info.dtype,
            "device": str(next(model.parameters()).device.type),
            "attention": "sdpa",
            "decoder": "none",
        },
    )
