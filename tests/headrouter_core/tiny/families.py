"""Tiny random models of every family but Qwen2.5-Omni, which has a real audio tower.

Their audio embeddings are put in behind the token embedding: what a decoder sees of a front end.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from headrouter_core import families

from .builders import BUILDERS
from .models import AUDIO, PAD
from .parts import TEXT


def decoder_layers(model: nn.Module) -> nn.ModuleList:
    """Return the decoder layers, found by what they are and not by the families under test."""
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) >= 6]
    (layers,) = [part for part in lists if hasattr(part[0], "self_attn")]
    return layers


def with_audio(model: nn.Module) -> nn.Module:
    """Give each audio placeholder of a prompt a state of its own on entry to the decoder."""
    seen: list[torch.Tensor] = []
    states = torch.randn(64, TEXT["hidden_size"], generator=torch.Generator().manual_seed(7))

    def see(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        seen[:] = [args[0] if args else kwargs["input_ids"]]

    def put(module: nn.Module, args: Any) -> Any:
        rows, columns = (seen[0] == AUDIO).nonzero(as_tuple=True)
        hidden = args[0].clone()
        hidden[..., rows, columns, :] += states[columns]
        return (hidden, *args[1:])

    model.register_forward_pre_hook(see, with_kwargs=True)
    decoder_layers(model)[0].register_forward_pre_hook(put)
    return model


def skip_lacking(name: str) -> None:
    """Skip the test that runs if the installed transformers has no such family."""
    (family,) = [family for family in families.FAMILIES if family.name == name]
    if reason := family.lacking():
        pytest.skip(reason)


def build(name: str, *, queries: float = 0.1) -> nn.Module:
    """Return a tiny model of a family in eager attention.

    ``queries`` is a factor of Gemma's query norms. Its affinities are not divided by the root of
    the head dimension; those of random weights are so large that the unpruned float32 model itself
    rounds by more than the tolerance: ``test_unscaled_affinities_round_by_more_than_is_allowed``.
    """
    skip_lacking(name)
    torch.manual_seed(0)
    model = BUILDERS[name]().eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.ndim == 1:  # zeros and ones would hide what biases and norms do
                parameter.add_(torch.randn_like(parameter) * 0.1)
            if name.startswith("gemma") and key.endswith("q_norm.weight"):
                parameter.mul_(queries)
    model.generation_config.pad_token_id = PAD
    model.generation_config.eos_token_id = None
    return attend(model, "eager")


def attend(model: nn.Module, attention: str) -> nn.Module:
    """Set the attention of the decoder only: not every encoder has every implementation."""
    for layer in decoder_layers(model):
        layer.self_attn.config._attn_implementation = attention
    return model


def twin(model: nn.Module, attention: str) -> nn.Module:
    """Return a copy in another attention implementation."""
    return attend(copy.deepcopy(model), attention)
