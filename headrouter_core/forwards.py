"""What is known about a running ``generate``, and about one forward pass inside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from headrouter_core.capture import Capture
from headrouter_core.columns import Columns
from headrouter_core.compaction import Compaction
from headrouter_core.errors import PruningError
from headrouter_core.families.base import Anatomy
from headrouter_core.masks import pruned_mask
from headrouter_core.prompt import Row
from headrouter_core.selectors.base import Selection


@dataclass(eq=False)
class Generation:
    """One running call of ``generate``.

    It knows what a forward cannot know: where the prompt ends, how often each prompt is repeated
    (beams, return sequences), and, without a cache, that the prompt was decided before.
    """

    ids: torch.Tensor | None
    """LongTensor [B, L] on CPU, as passed to ``generate``."""
    forwards: int = 0
    selections: Sequence[Selection] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Number of prompts and their columns."""
        prompts, length = (0, 0) if self.ids is None else self.ids.shape
        return prompts, length

    def begins(self, rows: int, ids: torch.Tensor | None) -> bool:
        """Whether a forward of so many rows begins with this prompt; ``None``: ids unknown."""
        if self.ids is None or rows % self.ids.shape[0]:
            return False
        prompt = self.expanded(rows)
        return ids is None or torch.equal(ids[:, : prompt.shape[1]], prompt)

    def expanded(self, rows: int) -> torch.Tensor:
        """Return the prompts, each repeated, as ``generate`` lays them out in ``rows`` rows."""
        assert self.ids is not None
        return self.ids.repeat_interleave(rows // self.ids.shape[0], dim=0)


@dataclass(eq=False)
class Prefill:
    """A forward that begins a prompt, on its way to layer M."""

    rows: Sequence[Row]
    """One a prompt."""
    real: torch.Tensor
    """BoolTensor [B, L] on CPU, False at padding."""
    capture: Capture | None
    """``None`` where nothing has to be selected (any more)."""
    generation: Generation | None


@dataclass(eq=False)
class Forward:
    """One call of the model. Without prefill and columns it runs untouched."""

    prefill: Prefill | None = None
    columns: Columns | None = None
    """What layers from M on work on, this forward's tokens included."""
    compaction: Compaction | None = None
    """How this forward's tokens were left out; ``None`` behind the prompt."""
    layers: int = 0
    """How many layers were changed."""
    _masks: dict[int | None, Any] = field(default_factory=dict)
    _moved: dict[int, tuple[Any, Any]] = field(default_factory=dict)

    def mask(self, anatomy: Anatomy, layer: int, hidden: torch.Tensor, cache: Any) -> Any:
        """Return the mask of a layer from M on; layers with the same window share one."""
        assert self.columns is not None
        attention = anatomy.attentions[layer]
        window, queries = attention.window, hidden.shape[-2]
        if window not in self._masks:
            # a model that shares keys may go on with the last tokens only, which are not causal
            # by themselves
            explicit = self.compaction is not None and anatomy.shares_keys
            self._masks[window] = pruned_mask(
                attention, hidden, self.columns, cache, layer, explicit=explicit
            )
        mask = self._masks[window]
        cut = isinstance(mask, torch.Tensor) and mask.ndim == 4 and mask.shape[2] > queries
        return mask[:, :, -queries:] if cut else mask

    def moved(self, value: Any) -> Any:
        """Return the kept tokens' part of a tensor or tuple; layers given the same share it."""
        assert self.compaction is not None
        if value is None:
            return None
        if id(value) not in self._moved:
            gather = self.compaction.gather
            part = gather(value) if isinstance(value, torch.Tensor) else tuple(map(gather, value))
            # held, so that its id stays its own
            self._moved[id(value)] = value, part
        return self._moved[id(value)][1]


def prompt_ids(call: dict[str, Any], generation: Generation | None) -> torch.Tensor:
    """Return the input ids of a prefill, LongTensor [B, L] on CPU.

    Raises:
        PruningError: only embeddings were passed, which do not say where audio is.
    """
    ids: torch.Tensor | None = call.get("input_ids")
    if ids is not None:
        return ids.cpu()
    embeds = call.get("inputs_embeds")
    if generation is not None and embeds is not None and generation.begins(len(embeds), None):
        ids = generation.expanded(len(embeds))
        if ids.shape[1] == embeds.shape[1]:
            return ids
    raise PruningError(
        "inputs_embeds alone do not say which tokens carry audio; pass input_ids of the same "
        "length beside them"
    )


def refuse_outputs(call: dict[str, Any]) -> None:
    """Refuse to be asked for outputs by columns of the unpruned prompt.

    Raises:
        PruningError: labels, or logits_to_keep as indices.
    """
    if call.get("labels") is not None:
        raise PruningError(
            "labels do not fit a pruned prompt, which has fewer logits; compute the loss from the "
            "last logits, which belong to the last tokens, or use headrouter_core.replay"
        )
    if isinstance(call.get("logits_to_keep"), torch.Tensor):
        raise PruningError(
            "logits_to_keep as a tensor means columns of the unpruned prompt; pass a number, which "
            "counts from the end"
        )
