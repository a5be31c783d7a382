"""Running a model only as far as the pruning layer, for what enters the decoder and that layer."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import nn

from headrouter_core.engine.choice.probe import check_length, watch
from headrouter_core.engine.forwards import Prefill
from headrouter_core.engine.sessions.gates import hooked
from headrouter_core.engine.sessions.session import Hook, Moment, Place
from headrouter_core.errors import PruningError
from headrouter_core.families.base import Anatomy
from headrouter_core.families.calls import Parameters
from headrouter_core.families.discovery import find_decoder
from headrouter_core.selectors.base import Selector


class _Reached(Exception):
    """Layer M was entered: what comes behind it is of no interest."""


class Beginning:
    """One run of a model up to layer M: what entered the decoder, and what enters layer M."""

    embeds: torch.Tensor
    """[B, L, D]."""
    entered: torch.Tensor
    """[B, L, D], the input of layer M."""
    positions: torch.Tensor | None = None
    """As the decoder was given them, if it was."""

    def __init__(self, anatomy: Anatomy, selector: Selector, prefill: Prefill, layer: int) -> None:
        self._anatomy = anatomy
        self._decoder = find_decoder(anatomy.root)
        self._hooks: dict[Place, Hook] = {}
        if layer:
            probed = anatomy.attentions[layer - 1]
            self._hooks |= watch(probed, selector.needs, lambda: prefill.capture)
        self._layer = layer
        self._length = prefill.real.shape[1]

    def run(self, inputs: Mapping[str, Any]) -> None:
        """Run the model on ``inputs``; hooks are gone afterwards, whatever happened."""
        layers = self._anatomy.layers
        hooks: dict[Place, Hook] = {
            **self._hooks,
            (self._decoder, Moment.BEFORE): self._enter_decoder,
            (layers[0], Moment.BEFORE): self._enter_first,
            (layers[self._layer], Moment.BEFORE): self._enter_pruned,
        }
        with hooked(self._anatomy.root, hooks), suppress(_Reached):
            self._anatomy.root(**{**inputs, "use_cache": False})
            raise PruningError(
                f"layer {self._layer} was not reached: something (a compiled graph?) calls"
                " layers without their hooks; prune before compiling"
            )

    def _enter_decoder(self, decoder: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        call = Parameters(decoder).read(args, kwargs)
        self.positions = call.get("position_ids")
        if call.get("inputs_embeds") is not None:
            self.embeds = call["inputs_embeds"]

    def _enter_first(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        # a decoder that is given embeddings may scale them; one that makes them (Phi-4) does not
        if not hasattr(self, "embeds"):
            self.embeds = Parameters(module).read(args, kwargs)["hidden_states"]

    def _enter_pruned(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        if not self._layer:
            self._enter_first(module, args, kwargs)  # which is this one: it has one hook
        self.entered = Parameters(module).read(args, kwargs)["hidden_states"]
        check_length(self.entered.shape[-2], self._length)
        raise _Reached
