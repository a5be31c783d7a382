"""What training adds to the pretrained parts: a projection and low-rank changes (LoRA).

The file of an adapter holds two matrices for every changed one, ``name.a`` [r, in] and ``name.b``
[out, r], and the projection's own weights. Merging it is exact arithmetic in a fixed order, so that
everyone who merges the same adapter gets the same model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from small_omni.assembly import Thinker, towers

#: Parts of the encoder that are trained as they are: its last norm and the projection.
PROJECTION = ("ln_post", "proj")


class LoRA(nn.Module):
    """A frozen linear layer and a trained change of rank r, scaled by ``2``.

    The change is zero at first; ``off`` leaves it out, which gives the pretrained layer.
    """

    scale = 2.0

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base, self.off = base, False
        device = base.weight.device
        spread = 1 / math.sqrt(base.in_features)
        self.a = nn.Parameter(torch.randn(rank, base.in_features, device=device) * spread)
        self.b = nn.Parameter(torch.zeros(base.out_features, rank, device=device))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [..., in] to [..., out]."""
        out: torch.Tensor = self.base(x)
        if self.off:
            return out
        return out + self.scale * functional.linear(functional.linear(x, self.a), self.b)


@dataclass(frozen=True)
class Places:
    """Where LoRA goes, and of which rank; 0 is nowhere."""

    decoder_rank: int = 8
    """In all seven projections of every decoder layer."""
    encoder_rank: int = 16
    """In all six projections of the encoder's upper layers."""
    encoder_layers: int = 6
    """How many of the encoder's layers, from the last."""

    def of(self, model: Thinker) -> Iterator[tuple[nn.Module, str, int]]:
        """The linear layers that change: each one's parent, its name there, and the rank."""
        encoder, decoder = towers(model)
        upper = list(encoder.layers)[max(0, len(encoder.layers) - self.encoder_layers) :]
        for layers, rank in ((upper, self.encoder_rank), (decoder.layers, self.decoder_rank)):
            for parent in (module for layer in layers for module in layer.modules()):
                for name, module in parent.named_children():
                    if rank and isinstance(module, nn.Linear):
                        yield parent, name, rank


def attach(model: Thinker, places: Places) -> None:
    """Freeze the model, put LoRA where ``places`` says, and leave the projection free."""
    model.requires_grad_(False)
    for parent, name, rank in list(places.of(model)):
        setattr(parent, name, LoRA(getattr(parent, name), rank))
    encoder, _ = towers(model)
    for name in PROJECTION:
        getattr(encoder, name).requires_grad_(True)


def named(model: Thinker) -> dict[str, nn.Parameter]:
    """All parameters by names that are the same with every version of transformers."""
    encoder, decoder = towers(model)
    found = {f"encoder.{name}": p for name, p in encoder.named_parameters()}
    return found | {f"decoder.{name}": p for name, p in decoder.named_parameters()}


def trained(model: Thinker) -> dict[str, nn.Parameter]:
    """The parameters that train, by name."""
    return {name: p for name, p in named(model).items() if p.requires_grad}


def save(weights: Mapping[str, torch.Tensor], path: Path, dtype: torch.dtype) -> None:
    """Write an adapter: the weights that :func:`trained` names, in ``dtype``."""
    save_file({name: w.detach().to(dtype).contiguous() for name, w in weights.items()}, path)


@torch.no_grad()
def merge(model: Thinker, path: Path) -> None:
    """Put an adapter into the float32 weights of a model.

    A change is added rank by rank with elementwise operations alone, whose rounding is the same on
    every machine; that of a matrix product is not.

    Raises ``ValueError`` where the adapter names what the model does not have.
    """
    adapter = {name: value.float() for name, value in load_file(path).items()}
    own = named(model)
    for name, value in adapter.items():
        if name.endswith(".a"):
            weight = own.get(f"{name[:-2]}.weight")
            a, b = LoRA.scale * value, adapter[f"{name[:-2]}.b"]
            if weight is None or weight.shape != (len(b), a.shape[1]):
                raise ValueError(f"the adapter changes {name[:-2]}, which this model does not have")
            for row, column in zip(a, b.T, strict=True):
                weight.add_(column[:, None] * row)
        elif not name.endswith(".b"):
            if name not in own or own[name].shape != value.shape:
                raise ValueError(f"the adapter holds {name}, which this model does not have")
            own[name].copy_(value)
