"""What an eviction method is: what it needs to see, how it scores positions and shares a budget.

A method is a small frozen dataclass. The engine looks at the queries of a prompt as ``needs`` says,
asks for the scores of each layer's and KV head's positions, and then how many of them each keeps.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch

from headrouter_core.eviction.budgets import Room


class Need(enum.Enum):
    """Whose attention to the held positions a method goes by."""

    NOTHING = enum.auto()
    #: that of the window's queries
    WINDOW = enum.auto()
    #: that of all queries of the prompt, which costs about as much as the prompt's attention itself
    EVERY = enum.auto()


@dataclass(frozen=True, eq=False)
class View:
    """KV heads of one layer and row that hold equally many positions, the window left out."""

    layer: int
    heads: tuple[int, ...]
    positions: torch.Tensor
    """LongTensor [h, n], ascending: columns of the layer."""
    attention: torch.Tensor | None
    """FloatTensor [h, n]: what each gets of a query's attention, mean over the queries that
    :class:`Need` names and over the query heads of a KV head; float32 or better."""
    sample: int
    """Number of the prompt since the context was opened: seeds methods that draw at random."""


@dataclass(frozen=True, eq=False)
class Scores:
    """How much each position of a view is worth."""

    scores: torch.Tensor
    """FloatTensor [h, n]; of equal ones the earlier position is kept."""
    cutoff: torch.Tensor | None = None
    """LongTensor [h]: the last frequency that smoothing let pass (``k*``)."""


@runtime_checkable
class Method(Protocol):
    """A way to choose what the KV heads keep."""

    @property
    def name(self) -> str:
        """The name that ``--cache`` knows it by."""

    @property
    def needs(self) -> Need:
        """Whose attention it goes by."""

    @property
    def window(self) -> int:
        """Last positions that every head keeps, as far as they fit in half of the budget."""

    def score(self, view: View) -> Scores:
        """Return how much each position of the view is worth."""

    def share(self, room: Room, scores: Sequence[Sequence[torch.Tensor]]) -> list[list[int]]:
        """Return how many positions each layer and KV head keeps.

        Args:
            room: what there is to share.
            scores: [n], by layer and head: without the window.
        """


class Registered(Method, Protocol):
    """A method whose class says what it is called: what ``METHODS`` holds."""

    name: ClassVar[str]

    def __init__(self, *args: Any, **settings: Any) -> None:
        """Settings are each class's own."""
