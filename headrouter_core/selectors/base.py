"""What a selector is: its needs, the view it is given, and what it returns.

A selector is a small frozen dataclass. The engine (``headrouter_core.pruning``) reads its ``needs``
and ``text_tokens``, captures only that from the probe layer, and calls it once per row of a
prefill.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch


class Need(enum.Flag):
    """What a selector reads from the probe layer; the engine captures nothing else."""

    NOTHING = 0
    #: queries of the text tokens and keys of the audio tokens, before rotary encoding
    QUERIES_KEYS = enum.auto()
    #: keys of the audio tokens after rotary encoding
    ROTATED_KEYS = enum.auto()
    #: the attention row of the last prompt token, softmax over *all* keys, audio columns only
    LAST_ATTENTION = enum.auto()
    #: the audio tokens' states on entry to the pruning layer
    HIDDEN_STATES = enum.auto()


@dataclass(frozen=True)
class View:
    """One row of a prefill as a selector sees it; tensors not asked for are ``None``."""

    audio_tokens: int
    """N_a of this row."""
    device: torch.device
    """Where the result has to live."""
    sample: int
    """Number of this row since the context was entered: seeds methods that draw at random."""
    queries: torch.Tensor | None = None
    """[H, N_t, d]: text tokens, un-rotated, in the model's dtype."""
    keys: torch.Tensor | None = None
    """[H_kv, N_a, d]: audio tokens, un-rotated, in the model's dtype."""
    scale: float | None = None
    """Factor of the affinities; ``None`` means 1/sqrt(d)."""
    rotated_keys: torch.Tensor | None = None
    """[H_kv, N_a, d]."""
    last_attention: torch.Tensor | None = None
    """[H, N_a], float32."""
    hidden_states: torch.Tensor | None = None
    """[N_a, D]."""


@dataclass(frozen=True)
class Selection:
    """What a selector decided for one row."""

    kept: torch.Tensor
    """LongTensor [k], ascending and unique, indices into the row's audio tokens."""
    importance: torch.Tensor | None = None
    """FloatTensor [N_a]; NaN where a token was not scored."""
    spread: torch.Tensor | None = None
    """Scalar tensor; ``None`` for selectors that do not route."""
    mixing: torch.Tensor | None = None
    """[3]: semantic, uniform, acoustic; ``None`` for selectors that do not route."""
    states: torch.Tensor | None = None
    """[k, D]: replacement states of the kept tokens, for merging methods."""


@runtime_checkable
class Selector(Protocol):
    """A method that chooses which audio tokens to keep."""

    name: ClassVar[str]
    """The name that ``--method`` knows it by."""
    needs: ClassVar[Need]

    @property
    def text_tokens(self) -> str:
        """Whose queries are probed: ``"all"`` text tokens or those ``"after"`` the last audio."""

    def __call__(self, view: View, k: int) -> Selection:
        """Choose ``k`` (1 <= k <= N_a) of the row's audio tokens."""
