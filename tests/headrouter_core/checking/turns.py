"""Conversations on one cache, pruned and by the masked reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache

from headrouter_core.pruning.context import prune
from headrouter_core.selectors.base import Selector

from .exactness import Inputs, Kept, Step, dropped_from, shown_logits
from .masked import masked

Rows = list[list[int]]


@dataclass
class Turn:
    """What one forward brings: its own columns, and a mask over all columns so far."""

    inputs: Inputs
    mask: torch.Tensor

    def call(self, step: Step) -> dict[str, Any]:
        """Return the arguments of the forward."""
        return {**self.inputs, **step(self.inputs["input_ids"], self.mask)}


@dataclass
class Conversation:
    """Turns that follow each other, each of all rows."""

    turns: list[Turn] = field(default_factory=list)

    @classmethod
    def of(cls, each: Sequence[Inputs]) -> Conversation:
        """Return the conversation of forwards that bring these inputs, by themselves."""
        made, masks = cls(), [inputs["attention_mask"] for inputs in each]
        for index, inputs in enumerate(each):
            made.turns.append(Turn(inputs, torch.cat(masks[: index + 1], 1)))
        return made

    def dropped(self, kept: Kept) -> torch.Tensor:
        """Return the BoolTensor [B, all columns] of what was dropped, with one entry a row a turn.

        Turns without audio have no entries, unless they are the first.
        """
        rows, parts, left = len(self.turns[0].mask), [], list(kept)
        for index, turn in enumerate(self.turns):
            own = turn.inputs
            audio = bool(dropped_from(own, [torch.empty(0)] * rows).any())
            chosen, left = (left[:rows], left[rows:]) if audio or not index else ([], left)
            parts.append(dropped_from(own, chosen or [torch.empty(0)] * rows))
        assert not left
        return torch.cat(parts, 1)


def _run(
    model: nn.Module, conversation: Conversation, step: Step, cache: Any
) -> list[torch.Tensor]:
    return [
        model(**turn.call(step), past_key_values=cache, use_cache=True).logits
        for turn in conversation.turns
    ]


@torch.no_grad()
def pruned_turns(
    model: nn.Module,
    conversation: Conversation,
    selectors: Sequence[tuple[Selector, float]],
    layer: int,
    step: Step,
    cache: Any,
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Return what a pruned model puts out at the tokens that are left, and what was dropped.

    Args:
        model: to be pruned.
        conversation: what it is given.
        selectors: with their ratios, one a context; the last goes on to the end.
        layer: M.
        step: how the model is given tokens.
        cache: an empty one.
    """
    logits, kept, turns = [], [], list(conversation.turns)
    for index, (selector, ratio) in enumerate(selectors):
        now, turns = (turns[:1], turns[1:]) if index < len(selectors) - 1 else (turns, [])
        with prune(model, selector, ratio, layer) as trace:
            logits += _run(model, Conversation(now), step, cache)
        kept += [entry.kept for entry in trace]
    dropped, first, shown = conversation.dropped(kept), 0, []
    for turn, found in zip(conversation.turns, logits, strict=True):
        own = turn.inputs["attention_mask"].bool()
        left = own & ~dropped[:, first : first + own.shape[1]]
        first += own.shape[1]
        compact = found.shape[1] < own.shape[1]
        shown.append(shown_logits(found, left) if compact else found[left])
    return shown, dropped


@torch.no_grad()
def masked_turns(
    reference: nn.Module,
    layers: nn.ModuleList,
    conversation: Conversation,
    dropped: torch.Tensor,
    layer: int,
    step: Step,
) -> list[torch.Tensor]:
    """Return the same of a whole model whose layers from ``layer`` on see only what is kept."""
    with masked(layers, layer, dropped):
        logits = _run(reference, conversation, step, DynamicCache())
    first, shown = 0, []
    for turn, found in zip(conversation.turns, logits, strict=True):
        own = turn.inputs["attention_mask"].bool()
        shown.append(found[own & ~dropped[:, first : first + own.shape[1]]])
        first += own.shape[1]
    return shown
