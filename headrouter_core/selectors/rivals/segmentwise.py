"""Segmentwise top-k: the most important tokens of each stretch of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from headrouter_core import scoring
from headrouter_core.basics.arguments import one_of, whole
from headrouter_core.errors import UsageError
from headrouter_core.profile.recipe import CHOICES
from headrouter_core.selectors.base import Need, Selection, View, choosing


@dataclass(frozen=True)
class Segmentwise:
    """Keep the ``k // S`` most important audio tokens in each of S equal segments.

    Source: Segmentwise Top-K, arXiv 2511.14293. What differs or is open:

    - *Importance*: the paper ranks by the self-attention of the audio encoder, before the language
      model and without the question. A selector inside the language model does not see it, so
      this is the paper's rule with another score: HeadRouter's importance (Eq. 7) with uniform head
      weights, which is aware of the question. Numbers are not the paper's method's.
    - *Remainder*: the paper is silent on ``k % S``. These tokens are the most important of all that
      are left, wherever they lie.
    - *Segments*: token i lies in segment ``i * S // N_a``; several audios of a prompt are divided
      as one. Where k is below S there are k segments, as ``k // S`` would be 0.

    Args:
        segments: S, at least 1; the paper's 10 unless given.
        text_tokens: whose queries are probed: ``all``, those ``after`` the audio, or the ``last``.

    Raises:
        UsageError: ``segments`` is no whole number from 1 up, or other text tokens.
    """

    name: ClassVar[str] = "segmentwise"
    needs: ClassVar[Need] = Need.QUERIES_KEYS

    segments: int = 10
    text_tokens: str = "all"

    def __post_init__(self) -> None:
        object.__setattr__(self, "segments", whole("segments", self.segments, 1))
        one_of("text_tokens", self.text_tokens, CHOICES["text_tokens"])

    @choosing
    def __call__(self, view: View, k: int) -> Selection:
        """Choose ``k`` of the row's audio tokens from its un-rotated queries and keys.

        Raises:
            UsageError: the view lacks queries or keys, or ``k`` is out of range.
        """
        if view.queries is None or view.keys is None:
            raise UsageError("the view holds no queries and keys; segmentwise needs both")
        importance = scoring.probe(view.queries, view.keys, view.scale).mean(0)
        segments = min(self.segments, k)
        rank = _rank_in_segment(importance, segments)
        # importance is a mean of probabilities: nothing else reaches 2
        favoured = importance.masked_fill(rank < k // segments, 2)
        return Selection(scoring.top_k(favoured, k), importance)


def _rank_in_segment(importance: torch.Tensor, segments: int) -> torch.Tensor:
    """Return how many tokens of its own segment come before each of [N_a], ties to the lower."""
    audios = importance.shape[0]
    places = torch.arange(audios, device=importance.device)
    segment = places * segments // audios
    order = importance.sort(descending=True, stable=True).indices
    order = order[segment[order].sort(stable=True).indices]
    # sorted by segment, what stands at a place is of the segment that this place lies in
    first = -(segment * -audios // segments)
    return torch.empty_like(places).index_copy_(0, order, places - first)
