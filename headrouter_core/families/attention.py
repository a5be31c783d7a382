"""One decoder layer's attention: where queries and keys come out, and how far it sees."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True, eq=False)
class Projection:
    """Where queries or keys come out of an attention module, before rotary encoding."""

    module: nn.Module
    """The module whose output is read: the projection, or the norm behind it."""
    linear: nn.Module
    """The projection."""
    heads: int
    head_dim: int
    first: int = 0
    """First output feature that belongs to it, where projections share one module."""
    after: Callable[[torch.Tensor], torch.Tensor] = lambda states: states
    """What the model does to [..., d] between this output and the rotary encoding."""

    def read(self, output: torch.Tensor) -> torch.Tensor:
        """Bring the module's output, [B, L, features] or [B, L, heads, d], to [B, L, heads, d]."""
        flat = output.flatten(2).narrow(2, self.first, self.heads * self.head_dim)
        return flat.view(*flat.shape[:2], self.heads, self.head_dim)

    def weight(self) -> tuple[torch.Tensor, torch.Tensor | None] | None:
        """Return weight and bias of the projection; ``None`` where they are not all there is to it.

        Quantised layers pack their weight, make a method of it, or a tensor of their own; shards
        are a part of it; adapters (LoRA) add their own.
        """
        from headrouter_core.profile.model_info import comparable

        if {name for name, _ in self.linear.named_parameters()} - {"weight", "bias"}:
            return None
        weight, bias = getattr(self.linear, "weight", None), getattr(self.linear, "bias", None)
        rows = slice(self.first, self.first + self.heads * self.head_dim)
        if not all(part is None or comparable(part) for part in (weight, bias)):
            return None
        if weight is None or weight.ndim != 2 or len(weight) < rows.stop:
            return None
        return weight[rows], None if bias is None else bias[rows]


@dataclass(frozen=True, eq=False)
class Attention:
    """One layer's attention, as probe and masks need it."""

    module: nn.Module
    queries: Projection
    keys: Projection | None
    """``None`` in layers that take the keys of an earlier one."""
    scale: float
    """Factor of the affinities before their softmax."""
    window: int | None
    """Reach of a sliding window in tokens; ``None`` where a token sees all before it."""

    @property
    def config(self) -> Any:
        """The configuration that names the attention implementation."""
        return self.module.config

    @property
    def lends_keys(self) -> bool:
        """Whether later layers take this one's keys."""
        return bool(getattr(self.module, "store_full_length_kv", False))

    def rotate(self, states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        """Apply rotary encoding to [1, heads, n, d], with cosines and sines [1, n, _].

        By the function that the model's own forward calls, found beside its class: partial and
        multimodal encodings need no knowledge here.
        """
        kind = type(self.module)
        called: Any = inspect.unwrap(kind.forward)
        # transformers before 5.20 merges the sections of Qwen2.5-Omni's phases in the function
        mixing = "apply_multimodal_rotary_pos_emb"
        name = mixing if mixing in called.__code__.co_names else "apply_rotary_pos_emb"
        apply = vars(sys.modules[kind.__module__])[name]
        parameters = list(inspect.signature(apply).parameters)
        more = {}
        if "mrope_section" in parameters:
            more["mrope_section"] = self.config.rope_parameters["mrope_section"]
        rotated: torch.Tensor
        if parameters.index("cos") == 1:
            rotated = apply(states, cos, sin, **more)
        else:
            rotated = apply(states, states, cos, sin, **more)[1]
        return rotated
