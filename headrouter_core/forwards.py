"""What is known about a running ``generate``, and about one forward pass inside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from headrouter_core.capture import Capture
from headrouter_core.columns import Columns
from headrouter_core.compaction import Compaction
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
    sound: torch.Tensor | None = None
    """Scalar: whether the newest logits of all steps behind the prompt are finite."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of prompts and their columns."""
        prompts, length = (0, 0) if self.ids is None else self.ids.shape
        return prompts, length

    def expanded(self, rows: int) -> torch.Tensor | None:
        """Return the prompts as ``generate`` repeats them to fill ``rows`` rows, if it can."""
        if self.ids is None or rows % len(self.ids):
            return None
        return self.ids.repeat_interleave(rows // len(self.ids), dim=0)

    def begins(self, ids: torch.Tensor) -> bool:
        """Whether a forward of ``ids`` [B, L] begins with this prompt."""
        prompt = self.expanded(len(ids))
        return prompt is not None and torch.equal(ids[:, : prompt.shape[1]], prompt)


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
    layer: int
    """M."""

    @property
    def pruned(self) -> bool:
        """Whether any row has audio tokens that have to go."""
        return any(row.pruned for row in self.rows)


@dataclass(eq=False)
class Forward:
    """One call of the model. Without prefill and columns it runs untouched."""

    call: Mapping[str, Any]
    """What the model was called with, by name."""
    prefill: Prefill | None = None
    columns: Columns | None = None
    """What layers from M on work on, this forward's tokens included."""
    compaction: Compaction | None = None
    """How this forward's tokens were left out; ``None`` behind the prompt."""
    layers: int = 0
    """How many layers were changed."""
    unchecked: tuple[Prefill, Sequence[Selection]] | None = None
    """What was decided in this forward, and what was selected."""
    _masks: dict[int | None, Any] = field(default_factory=dict)
    _moved: dict[int, tuple[Any, Any]] = field(default_factory=dict)

    @property
    def owes_loss(self) -> bool:
        """Whether it was given labels, which the model cannot pair with the logits it will have."""
        pruned = self.compaction is not None or (self.prefill is not None and self.prefill.pruned)
        return pruned and self.call.get("labels") is not None

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
