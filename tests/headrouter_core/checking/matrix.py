"""What the exactness suite runs: families, prompts, ways of decoding, and their references.

A reference depends on nothing that is under test, so both attention implementations share one.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache, StaticCache

from ..tiny import models as tiny_models
from ..tiny.families import BUILDERS, build, decoder_layers, twin, with_audio
from ..tiny.models import AUDIO, batch, row
from .exactness import (
    Inputs,
    Logits,
    Step,
    dropped_from,
    generated,
    kept_by_scattered,
    masked_generation,
    masked_logits,
    omni_step,
    plain_step,
)
from .masked import masked
from .probes import merged

FAMILIES = ["qwen2_5_omni", *BUILDERS]
RATIOS = (0.3, 0.6, 0.9)
LAYERS = (1, 3, 5)

THREE = [row("system", 20, "question?"), row("s", 9, "why"), row("so", 8, "and", 5, "which?")]
#: Form of the prompt -> rows, and the side they are padded on.
FORMS = {
    "one": ([row("system", 20, "question?")], "left"),
    "several": ([row("system", 11, "and then", 14, "which?")], "left"),
    "left": (THREE, "left"),
    "right": (THREE, "right"),
    "text row": ([row("system", 20, "question?"), row("only text"), row("s", 9, "why")], "left"),
}
#: Families whose tiny model has layers of a kind that others have not.
PARTICULAR = {
    "windows": {"phi4_multimodal", "gemma3n", "gemma4", "gemma4_unified", "muse_spark"},
    "shared keys": {"gemma3n", "gemma4"},
    "layer inputs": {"gemma3n", "gemma4"},
}
#: Way of decoding -> form of the prompt, options of ``generate``.
DECODING: dict[str, tuple[str, dict[str, Any]]] = {
    "sampling": ("several", {"do_sample": True, "num_return_sequences": 3}),
    "beams": ("text row", {"num_beams": 3, "num_return_sequences": 2}),
    "no cache": ("left", {"use_cache": False, "max_new_tokens": 3}),
    "dynamic": ("text row", {"past_key_values": lambda model: DynamicCache()}),
    "static": ("left", {"cache_implementation": "static"}),
    "static, own": (
        "one",
        {"past_key_values": lambda m: StaticCache(m.config.get_text_config(), max_cache_len=60)},
    ),
}
LOOKUP: dict[str, Any] = {"prompt_lookup_num_tokens": 3, "max_new_tokens": 8}


@functools.cache
def tiny(name: str, attention: str) -> nn.Module:
    """Return the tiny model of a family."""
    if name == "qwen2_5_omni":
        return tiny_models.thinker(attention)
    if attention == "eager":
        return with_audio(build(name))
    return twin(tiny(name, "eager"), attention)


def tiny64(name: str) -> nn.Module:
    """Return the tiny model of a family in float64 and eager attention, Gemma as it comes."""
    if name == "qwen2_5_omni":
        return tiny_models.thinker("eager").double()
    return with_audio(build(name, queries=1)).double()


def made(name: str, rows: list[list[int]], side: str = "left") -> Inputs:
    """Return inputs; only Qwen2.5-Omni has an audio tower that takes some."""
    whole = batch(rows, side)
    names = whole if name == "qwen2_5_omni" else ("input_ids", "attention_mask")
    return {key: whole[key] for key in names}


@functools.cache
def inputs(name: str, form: str) -> Inputs:
    """Return the inputs of a form of the prompt."""
    return made(name, *FORMS[form])


def step_of(name: str) -> Step:
    """Return how a family is given tokens behind a prompt."""
    return omni_step if "omni" in name else plain_step


def reference(name: str) -> tuple[nn.Module, nn.ModuleList]:
    """Return the reference model and its decoder layers."""
    model = tiny(name, "eager")
    return model, decoder_layers(model)


@functools.lru_cache(maxsize=8)
def wanted_logits(name: str, form: str, ratio: float, layer: int) -> Logits:
    given = inputs(name, form)
    kept = kept_by_scattered(given, ratio)
    return masked_logits(*reference(name), given, kept, layer, step_of(name))


@functools.lru_cache(maxsize=8)
def wanted_generation(name: str, mode: str) -> Any:
    form, options = DECODING[mode]
    given = inputs(name, form)
    return masked_generation(*reference(name), given, kept_by_scattered(given, 0.6), 2, **options)


def two_turns(model: nn.Module, given: Inputs, **first: Any) -> list[Any]:
    """Return generations of a prompt and of a second turn behind it, on one cache."""
    one = generated(model, given, max_new_tokens=4, **first)
    rows, length = one.sequences.shape
    more = torch.arange(30, 34).expand(rows, -1)
    new = length + 4 - given["attention_mask"].shape[1]
    mask = torch.cat([given["attention_mask"], torch.ones(rows, new, dtype=torch.long)], 1)
    mask[1, -4:-2] = 0  # turns of different lengths are padded in the middle
    turn = {"input_ids": torch.cat([one.sequences, more], 1), "attention_mask": mask}
    return [one, generated(model, turn, max_new_tokens=4, past_key_values=one.past_key_values)]


@functools.lru_cache(maxsize=2)
def wanted_turns(name: str) -> list[Any]:
    given, (whole, layers) = inputs(name, "text row"), reference(name)
    with masked(layers, 2, dropped_from(given, kept_by_scattered(given, 0.6))):
        return two_turns(whole, given, past_key_values=DynamicCache())


@functools.lru_cache(maxsize=2)
def wanted_lookup(name: str) -> tuple[Inputs, Any]:
    """Return a prompt in which there is something to look up, and what follows it."""
    given = made(name, [[*row("system", 20), *[7, 8, 9, 7, 8, 9, 7, 8]]])
    kept = kept_by_scattered(given, 0.6)
    return given, masked_generation(*reference(name), given, kept, 2, **LOOKUP)


@functools.lru_cache(maxsize=4)
@torch.no_grad()
def wanted_merged(name: str, form: str, layer: int) -> Logits:
    """Return the reference's logits with the states of ``Merging`` put in."""
    given, (whole, layers) = inputs(name, form), reference(name)
    entered: list[torch.Tensor] = []
    with layers[layer].register_forward_pre_hook(lambda _, args: entered.append(args[0])):
        whole(**given)
    kept, states = kept_by_scattered(given, 0.6), {}
    for index, real in enumerate(given["attention_mask"].bool()):
        columns = ((given["input_ids"][index] == AUDIO) & real).nonzero()[:, 0]
        if len(columns):
            new = merged(entered[0][index, columns], kept[index])
            states |= {(index, int(c)): s for c, s in zip(columns[kept[index]], new, strict=True)}
    return masked_logits(whole, layers, given, kept, layer, step_of(name), states)
