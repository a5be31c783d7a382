"""Models with audio where embeddings are, and their inputs: what prune_inputs is tried on."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import nn

from headrouter_core import families

from ..checking.bundles import make_profile
from ..tiny import models as tiny_models
from ..tiny.families import BUILDERS, TEXT, attend, build, decoder_layers
from ..tiny.models import AUDIO, batch, row

#: Layers of these look up something by token id beside the embedding.
BY_TOKEN = ("gemma3n", "gemma4")
#: ``generate`` of these takes no embeddings; their forward does.
STEPPED = ("vibevoice_asr", "gemma4_unified")
FAMILIES = ["qwen2_5_omni", *(name for name in BUILDERS if name not in BY_TOKEN)]
ROWS = {
    "one": [row("system", 11, "and then", 14, "which?")],
    "three": [row("system", 20, "question?"), row("s", 9, "why"), row("only text")],
}


@functools.cache
def model(name: str, attention: str) -> nn.Module:
    if name == "qwen2_5_omni":
        return tiny_models.thinker(attention)
    return widened(with_audio(attend(build(name), attention)))


def with_audio(whole: nn.Module) -> nn.Module:
    """Put audio where embeddings are, as front ends do."""
    ids: list[torch.Tensor] = []
    states = torch.randn(64, TEXT["hidden_size"], generator=torch.Generator().manual_seed(7))

    def see(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        ids[:] = [args[0] if args else kwargs.get("input_ids")]

    def put(module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        if ids[0] is None:
            return output
        rows, columns = (ids[0] == AUDIO).nonzero(as_tuple=True)
        output = output.clone()
        output[rows, columns] += states[columns]
        return output

    whole.register_forward_pre_hook(see, with_kwargs=True)
    whole.get_input_embeddings().register_forward_hook(put)
    return whole


def widened(whole: nn.Module) -> nn.Module:
    """Make sliding windows reach further than prompts are long."""
    for layer in decoder_layers(whole):
        for holder in (layer.self_attn, layer.self_attn.config):
            if getattr(holder, "sliding_window", None):
                holder.sliding_window = 64
    return whole


def inputs(name: str, rows: str, side: str = "left") -> dict[str, torch.Tensor]:
    made = batch(ROWS[rows], side)
    if name != "qwen2_5_omni":
        made = {key: made[key] for key in ("input_ids", "attention_mask")}
    return made


def positions(name: str, mask: torch.Tensor) -> torch.Tensor:
    counted = (mask.cumsum(1) - 1).clamp(min=0)
    return counted.expand(3, -1, -1) if "omni" in name else counted


def only_text(given):
    return {key: given[key] for key in ("input_ids", "attention_mask")}


def profile(whole):
    return make_profile(model=families.model_info(whole, 2))
