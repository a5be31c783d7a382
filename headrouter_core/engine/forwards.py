"""What is known about a running ``generate``, and about one forward pass inside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from headrouter_core.engine.choice.probe import Capture
from headrouter_core.engine.prompt.reading import Row
from headrouter_core.engine.shortening.columns import Columns
from headrouter_core.engine.shortening.layout import Compaction
from headrouter_core.engine.shortening.masks import pruned_mask
from headrouter_core.families.base import Anatomy
from headrouter_core.selectors.base import Selection


@dataclass(eq=False)
class Generation:
    """One running call of ``generate``.

    It knows what a forward cannot know: where the prompt ends, how often each prompt is repeated
    (beams, return sequences), and, without a cache, that the prompt was decided before.
    """

    ids: torch.Tensor | None
    """LongTensor [B, L] on CPU, as passed to ``generate``: the whole conversation, or what is new
    behind its cache."""
    forwards: int = 0
    cache: Any = None
    """What its forwards are given; other forwards inside it belong to other prompts."""
    first: int = 0
    """Columns that the cache held already."""
    end: int | None = None
    """Column behind the prompt; ``None`` where its forwards do not bring it."""
    decided: Prefill | None = None
    """The prompt, for forwards without a cache, which bring it again."""
    sound: torch.Tensor | None = None
    """Scalar: whether the newest logits of all steps behind the prompt are finite."""

    def enter(self, cache: Any, first: int) -> None:
        """Take in that a forward begins on a cache that holds ``first`` columns."""
        if not self.forwards:
            self.cache, self.first = cache, first
        self.forwards += 1

    def brings(self, ids: torch.Tensor | None, rows: int, count: int) -> torch.Tensor | None:
        """Return the prompts [rows, n] that a first forward of ``count`` tokens begins to bring.

        ``generate`` may have been given the whole conversation, or what is new behind its cache.

        Args:
            ids: LongTensor [rows, count] on CPU; ``None``: embeddings stand for them.
            rows: those of the forward.
            count: columns of the forward.
        """
        if self.ids is None or rows % len(self.ids):
            return None
        given = self.ids.repeat_interleave(rows // len(self.ids), dim=0)
        for prompt in (given[:, self.first :], given) if self.first else (given,):
            length = min(count, prompt.shape[1])
            same = ids is None or torch.equal(ids[:, :length], prompt[:, :length])
            if length and same and (ids is not None or length == count):
                self.end = self.first + prompt.shape[1]
                return prompt
        return None


@dataclass(eq=False)
class Prefill:
    """The prompts that a forward brings."""

    rows: Sequence[Row]
    """One a prompt."""
    real: torch.Tensor
    """BoolTensor [B, L] on CPU, False at padding."""
    first: int
    """Columns that the cache held already."""
    before: Columns | None
    """These, if some of them were pruned."""
    shown: torch.Tensor | None
    """BoolTensor [B, whole]: what the mask shows, what is in the cache included; ``None``: all."""
    positions: torch.Tensor | None
    """The position ids that would show packed prompts, where there is no mask that says more."""
    capture: Capture | None
    """``None`` where nothing has to be selected (any more)."""
    generation: Generation | None
    told: dict[str, torch.Tensor]
    """What else the model was told, see :func:`told`."""
    selections: Sequence[Selection] = ()
    """What was selected of them, once they have reached layer M."""

    @property
    def pruned(self) -> bool:
        """Whether any row has audio tokens that have to go."""
        return any(row.pruned for row in self.rows)


@dataclass(eq=False)
class Forward:
    """One call of the model. Without prefill and columns it runs untouched.

    What it does to a cache's memory, the trace and the count of rows is done at its end, so that
    one that fails and is run again is as if it had run once.
    """

    call: Mapping[str, Any]
    """What the model was called with, by name."""
    prefill: Prefill | None = None
    """On its way to layer M."""
    columns: Columns | None = None
    """What layers from M on work on, this forward's tokens included."""
    compaction: Compaction | None = None
    """How this forward's tokens were left out; ``None`` behind the prompt."""
    layers: int = 0
    """How many layers were changed."""
    cache: Any = None
    """What layers are given."""
    unchecked: Prefill | None = None
    """What was decided in this forward."""
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


#: Arguments that grow with each step of ``generate`` without a cache, or say nothing of the prompt.
_GROWING = {
    "input_ids",
    "attention_mask",
    "position_ids",
    "inputs_embeds",
    "token_type_ids",
    "mm_token_type_ids",
    "per_layer_inputs",
    "logits_to_keep",
}


def told(call: Mapping[str, Any], length: int) -> dict[str, torch.Tensor]:
    """Return what a model is told of a prompt of ``length`` columns besides its ids, by name."""
    found: dict[str, torch.Tensor] = {}
    for name, value in call.items():
        if name not in _GROWING:
            found |= dict(_tensors(name, value))
    embeds = call.get("inputs_embeds")
    if embeds is not None:
        found["inputs_embeds"] = embeds[:, :length]
    return found


def _tensors(name: str, value: Any) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _tensors(f"{name}.{key}", part)
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from _tensors(f"{name}.{index}", part)


def alike(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    """Whether two forwards were told the same."""
    if one.keys() != other.keys():
        return False
    return all(part is other[name] or torch.equal(part, other[name]) for name, part in one.items())
