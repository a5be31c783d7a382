"""What a selector is: its needs, the view it is given, and what it returns.

A selector is a small frozen dataclass. The engine (``headrouter_core.engine``) reads its ``needs``
and ``text_tokens``, captures only that from the probe layer, and calls it once per row of a
prefill. Two selectors are equal if their settings are, and their profile is the same object.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar, cast, runtime_checkable

import torch

from headrouter_core.basics.arguments import floating, shown, whole
from headrouter_core.basics.precision import accumulating, full_precision
from headrouter_core.errors import UsageError
from headrouter_core.scoring import check_count

Call = TypeVar("Call", bound=Callable[..., Any])


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
    """One row of a prefill as a selector sees it; tensors not asked for are ``None``.

    Raises:
        UsageError: a tensor that has not the shape said here.
    """

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
    """[H, N_a], float32 or better."""
    hidden_states: torch.Tensor | None = None
    """[N_a, D]."""

    def __post_init__(self) -> None:
        audios = whole("audio_tokens", self.audio_tokens, 1)
        for name, shape in (
            ("queries", "[H, N_t, d]"),
            ("keys", f"[H_kv, {audios}, d]"),
            ("rotated_keys", f"[H_kv, {audios}, d]"),
            ("last_attention", f"[H, {audios}]"),
            ("hidden_states", f"[{audios}, D]"),
        ):
            if getattr(self, name) is not None:
                floating(name, getattr(self, name), shape, empty=True)


@dataclass(frozen=True, eq=False)
class Merge:
    """How the states of kept tokens come about, where each is a weighted mean of some tokens.

    The same means can be taken of other values of the tokens, such as their embeddings.
    """

    into: torch.Tensor
    """LongTensor [N_a]: which of the k kept tokens each audio token goes into."""
    shares: torch.Tensor
    """FloatTensor [N_a]: its weight there; those of one kept token sum to 1."""

    def of(self, values: torch.Tensor, k: int) -> torch.Tensor:
        """Return the means [k, D] of the tokens' values [N_a, D], in float32 or better.

        By embedding_bag, because it adds in a fixed order: index_add_ on a GPU does not.
        """
        values = values.to(accumulating(values.dtype, self.shares.dtype))
        order = self.into.sort(stable=True)
        bags = torch.arange(k, device=values.device)
        starts = torch.searchsorted(order.values, bags)
        shares = self.shares[order.indices].to(values.dtype)
        with full_precision(values.device):
            return torch.nn.functional.embedding_bag(
                order.indices, values, starts, mode="sum", per_sample_weights=shares
            )


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
    """[3] or [4]: the shares of semantic, uniform, acoustic and, where there are such, pooled head
    weights; ``None`` for selectors that do not route."""
    states: torch.Tensor | None = None
    """[k, D]: replacement states of the kept tokens, for merging methods."""
    merge: Merge | None = None
    """How ``states`` come about; ``None`` where they are no weighted means of tokens, so that the
    method cannot merge anything but states of layer M."""


@runtime_checkable
class Selector(Protocol):
    """A method that chooses which audio tokens to keep."""

    @property
    def name(self) -> str:
        """The name that ``--method`` knows it by."""

    @property
    def needs(self) -> Need:
        """What it reads from the probe layer."""

    @property
    def text_tokens(self) -> str:
        """Whose queries are probed: ``all`` text tokens, those ``after`` the audio, or the last."""

    def __call__(self, view: View, k: int) -> Selection:
        """Choose ``k`` (1 <= k <= N_a) of the row's audio tokens."""


class Registered(Selector, Protocol):
    """A selector whose class says what it is called and needs: what ``SELECTORS`` holds."""

    name: ClassVar[str]
    needs: ClassVar[Need]

    def __init__(self, *args: Any, **settings: Any) -> None:
        """Settings are each class's own."""


def choosing(call: Call) -> Call:
    """Wrap a selector's ``__call__``: no gradients, no autocast, and ``k`` within the audio.

    Raises:
        UsageError: the view is none, or ``k`` is no whole number from 1 to N_a.
    """

    @functools.wraps(call)
    def choose(self: Any, view: View, k: int) -> Selection:
        if not isinstance(view, View):
            raise UsageError(f"{self.name} was given {shown(view)}; it must be a View")
        check_count(k, view.audio_tokens)
        with torch.no_grad(), full_precision(view.device):
            return cast(Selection, call(self, view, k))

    return cast(Call, choose)
