"""FastV: the tokens that the last prompt token attends to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from headrouter_core import scoring
from headrouter_core.errors import UsageError
from headrouter_core.selectors.base import Need, Selection, View, choosing


@dataclass(frozen=True)
class FastV:
    """Keep the audio tokens that the prompt's last token attends to most, all heads alike.

    Source: arXiv 2403.06764, for audio AudioMarathon (arXiv 2510.07293). What differs or is open:

    - *Whose attention*: the paper averages what all tokens pay, its code and AudioMarathon's read
      the last token's row. Here the last token's.
    - *Layer*: FastV prunes before layer K by the attention of layer K-1. Here M is K.
    - *Normalisation*: the softmax runs over all keys that the last token sees, audio or not: over
      audio alone each head would be scaled differently, and the mean over heads ranks otherwise.
      In a later turn of a conversation it runs over the keys of that turn alone.
    - *Cost*: the released codes form the layer's whole attention matrix for this one row. The
      engine computes the row.
    """

    name: ClassVar[str] = "fastv"
    needs: ClassVar[Need] = Need.LAST_ATTENTION
    text_tokens: ClassVar[str] = "all"

    @choosing
    def __call__(self, view: View, k: int) -> Selection:
        """Choose ``k`` of the row's audio tokens from the last token's attention.

        Raises:
            UsageError: the view lacks the attention, or ``k`` is out of range.
        """
        if view.last_attention is None:
            raise UsageError("the view holds no last attention; fastv needs it")
        importance = view.last_attention.mean(0)
        return Selection(scoring.top_k(importance, k), importance)
