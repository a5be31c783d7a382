"""What a prefill takes: operations and bytes, from the shapes of a decoder's parts.

Operations are counted as :class:`torch.utils.flop_counter.FlopCounterMode` counts them: a product
of sizes a x b and b x c is 2abc, and attention is over all pairs of columns, although kernels leave
out those that are masked. (Kaplan et al. 2020, arXiv 2001.08361, section 2.1, has the same terms: 2
for each weight and column, and the one of attention that is quadratic in columns.) Norms,
activations, rotary encoding and what a selector computes are not in it: they are linear in columns,
or of one layer.

A column is a token of the prompt, audio or text. Pruning leaves layers 0..M-1 all N columns, and
layers M.. only the k kept audio tokens and the text.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from calibrate.planning.blueprint import Blueprint
from headrouter_core.families.base import Anatomy
from headrouter_core.families.calls import Parameters
from headrouter_core.families.discovery import find_decoder


@dataclass(frozen=True)
class LayerShape:
    """One decoder layer in numbers."""

    weights: int
    """Weights that each column is multiplied with: of experts, as many as a token is routed to."""
    attended: int
    """Query heads times the dimensions of a query and a value: numbers a pair of columns takes."""
    heads: int
    """Query heads."""
    cached: int
    """Numbers that a column leaves in the cache: keys and values; 0 where keys are borrowed."""
    window: int | None
    """Reach of a sliding window; its cache holds one column less."""
    inner: int
    """Width of the MLP inside: of the experts that a token is routed to, all together."""
    head_dim: int
    eager: bool
    """Whether attention writes out all affinities."""
    newest: bool
    """Whether only the last column goes through: some models run layers that borrow keys for the
    columns alone that logits are made of."""

    def flops(self, columns: int) -> int:
        """``2 q W`` for projections and MLP, and ``2 q c H (d_k + d_v)`` for attention; q is c."""
        queries = self.queries(columns)
        return 2 * queries * self.weights + 2 * queries * columns * self.attended

    def queries(self, columns: int) -> int:
        """Return how many of so many columns go through."""
        return 1 if self.newest else columns

    def cache(self, columns: int) -> int:
        """Return the numbers that the cache holds: ``c (H_k d_k + H_k d_v)``."""
        return self.cached * (columns if self.window is None else min(columns, self.window - 1))


@dataclass(frozen=True)
class Peak:
    """When a prefill holds most, and what."""

    weights: int
    """Bytes of the parameters, encoder included."""
    cache: int
    """Bytes of the cache at that moment."""
    transient: int
    """Bytes of what is computed with at that moment."""
    what: str
    """What that is."""

    @property
    def bytes(self) -> int:
        """All of it."""
        return self.weights + self.cache + self.transient


@dataclass(frozen=True)
class Costs:
    """A decoder in numbers; see the module."""

    layers: tuple[LayerShape, ...]
    width: int
    vocabulary: int
    all_logits: bool
    """Whether ``generate`` makes logits of all columns, as where forward takes no
    ``logits_to_keep``; else those of the last one."""
    beside: int
    """Weights outside of the layers that each column of the whole prompt is multiplied with."""
    parameters: int
    """All weights of the model, encoder included."""
    itemsize: int
    """Bytes of a number."""

    @classmethod
    def of(cls, blueprint: Blueprint) -> Costs:
        """Read the shapes of a model."""
        anatomy = blueprint.anatomy
        embedding: Any = anatomy.embedding
        root = anatomy.root
        return cls(
            layers=tuple(_layer(anatomy, index) for index in range(len(anatomy.layers))),
            width=int(embedding.weight.shape[1]),
            vocabulary=int(embedding.weight.shape[0]),
            all_logits="logits_to_keep" not in inspect.signature(root.forward).parameters,
            beside=_beside(anatomy),
            parameters=sum(part.numel() for part in root.parameters()),
            itemsize=blueprint.dtype.itemsize,
        )

    def columns(self, total: int, kept: int, layer: int) -> list[int]:
        """Return how many columns each layer sees: ``total`` before M, ``kept`` from M on."""
        return [total if index < layer else kept for index in range(len(self.layers))]

    def flops(self, columns: Sequence[int]) -> int:
        """Return the operations of a prefill whose layers see so many columns each.

        The layers', ``2 D V`` a column that logits are made of, and what stands beside the layers.
        """
        layers = sum(layer.flops(c) for layer, c in zip(self.layers, columns, strict=True))
        made = columns[-1] if self.all_logits else 1
        return layers + 2 * made * self.width * self.vocabulary + 2 * columns[0] * self.beside

    def later_flops(self, columns: int, layer: int, logits: int) -> int:
        """Return the operations of layers M.. alone over some columns, and of so many logits."""
        layers = sum(part.flops(columns) for part in self.layers[layer:])
        return layers + 2 * logits * self.width * self.vocabulary

    def step_flops(self, columns: int) -> int:
        """Return the operations of one more token behind so many: ``2 W + 2 c H (d_k + d_v)``."""
        layers = sum(2 * part.weights + 2 * columns * part.attended for part in self.layers)
        return layers + 2 * self.width * self.vocabulary

    def cache_bytes(self, columns: Sequence[int]) -> int:
        """Return the bytes of the cache that a prefill leaves."""
        found = (layer.cache(c) for layer, c in zip(self.layers, columns, strict=True))
        return self.itemsize * sum(found)

    def peak(self, columns: Sequence[int]) -> Peak:
        """Return the most that a prefill holds at once, input embeddings and features aside.

        The most of: each layer's MLP (two inner states and their product, the layer's input, the
        sum behind attention and what is added to it, and the rotary phases:
        ``c (3 I + 3 D + 2 d)``) beside the cache up to this layer; likewise affinities ``H c^2``
        where attention is eager, their softmax in float32 beside them; and logits ``c (V + D)``
        beside the whole cache.
        """
        weights, size = self.parameters * self.itemsize, self.itemsize
        moments, cache = [], 0
        for index, (layer, c) in enumerate(zip(self.layers, columns, strict=True)):
            cache += size * layer.cache(c)
            q = layer.queries(c)
            states = q * (3 * layer.inner + 3 * self.width + 2 * layer.head_dim)
            moments.append(Peak(weights, cache, size * states, f"MLP of layer {index}"))
            if layer.eager:
                affinities = layer.heads * q * c * (size + 4)
                what = f"affinities of layer {index}, eager attention"
                moments.append(Peak(weights, cache, affinities, what))
        made = columns[-1] if self.all_logits else 1
        what = "logits of all columns" if self.all_logits else "logits"
        transient = size * (made * self.vocabulary + columns[-1] * self.width)
        moments.append(Peak(weights, cache, transient, what))
        return max(moments, key=lambda moment: moment.bytes)


def _layer(anatomy: Anatomy, index: int) -> LayerShape:
    attention, layer = anatomy.attentions[index], anatomy.layers[index]
    queries, keys = attention.queries, attention.keys
    config = anatomy.root.config.get_text_config()  # type: ignore[union-attr,operator]
    return LayerShape(
        weights=_active(layer, config),
        attended=2 * queries.heads * queries.head_dim,
        heads=queries.heads,
        cached=0 if keys is None else 2 * keys.heads * keys.head_dim,
        window=attention.window,
        inner=_inner(layer, config),
        head_dim=queries.head_dim,
        eager=getattr(attention.config, "_attn_implementation", None) == "eager",
        newest=keys is None and "logits_to_keep" in Parameters(find_decoder(anatomy.root)).names,
    )


def _share(config: Any) -> float:
    """Return the share of a layer's experts that one token is routed to."""
    number = getattr(config, "num_experts", None) or getattr(config, "num_local_experts", None)
    names = ("num_experts_per_tok", "top_k_experts", "moe_top_k")
    chosen = next((getattr(config, name) for name in names if getattr(config, name, None)), None)
    return 1.0 if not number or not chosen else chosen / number


def _active(module: nn.Module, config: Any) -> int:
    """Return the weights that a column is multiplied with: matrices, and a share of experts.

    Experts are stacked: one tensor of three dimensions holds those of a layer.
    """
    whole = sum(part.numel() for part in module.parameters() if part.ndim == 2)
    stacked = sum(part.numel() for part in module.parameters() if part.ndim == 3)
    return whole + round(stacked * _share(config))


def _inner(layer: nn.Module, config: Any) -> int:
    """Return the width that ``down_proj`` takes, of all experts that a token is routed to."""
    widest = 0
    for name, part in layer.named_parameters():
        if "down_proj" not in name or part.ndim < 2:
            continue
        experts = round(part.shape[0] * _share(config)) if part.ndim == 3 else 1
        widest = max(widest, experts * int(part.shape[-1]))
    return widest


def _beside(anatomy: Anatomy) -> int:
    """Return the weights of the linear modules that stand among embedding, layers and norm."""
    children = list(find_decoder(anatomy.root).children())
    lists = [list(part) for part in children if isinstance(part, nn.ModuleList)]
    parts = [*children, *(part for parts in lists for part in parts)]
    return sum(part.weight.numel() for part in parts if isinstance(part, nn.Linear))
