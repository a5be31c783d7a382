"""DART: the tokens least like a few pivots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from headrouter_core.basics.arguments import whole
from headrouter_core.basics.precision import accumulating
from headrouter_core.errors import UsageError
from headrouter_core.selectors.base import Need, Selection, View, choosing


@dataclass(frozen=True)
class DART:
    """Keep the audio tokens with the largest keys, and those that resemble them least.

    Pivots are the tokens whose rotated keys have the largest L1 norm over all heads of layer M-1.
    Each in turn takes its share of the tokens that are left: those whose states on entry to layer M
    have the lowest cosine to its own.

    Source: arXiv 2502.11494 and its code, for audio AudioMarathon (arXiv 2510.07293). What differs
    or is open:

    - *Budget*: the codes keep ``4 + 8 * int(k / 8)`` tokens. Here the k - P that are no pivots are
      shared out evenly, the first pivots taking one more; with k below P there are k pivots.
    - *Pivots*: the codes take 4 audio and 4 text tokens. A selector sees the keys and states of
      audio tokens only, so that all 8 are audio tokens here, and the method knows no question.
    - *Turns*: the codes go through a Python set, so who takes first is left to chance. Here the
      pivot with the largest norm does; ties go to the lower index.
    - *States*: the codes put the model's final norm, learnt for another layer, before the cosine.
      Here states are compared as they are.

    Args:
        pivots: P, at least 1.

    Raises:
        UsageError: ``pivots`` is no whole number from 1 up.
    """

    name: ClassVar[str] = "dart"
    needs: ClassVar[Need] = Need.ROTATED_KEYS | Need.HIDDEN_STATES
    text_tokens: ClassVar[str] = "all"

    pivots: int = 8

    def __post_init__(self) -> None:
        object.__setattr__(self, "pivots", whole("pivots", self.pivots, 1))

    @choosing
    def __call__(self, view: View, k: int) -> Selection:
        """Choose ``k`` of the row's audio tokens from their rotated keys and hidden states.

        Raises:
            UsageError: the view lacks keys or states, or ``k`` is out of range.
        """
        if view.rotated_keys is None or view.hidden_states is None:
            raise UsageError("the view holds no rotated keys and hidden states; dart needs both")
        pivots = _largest(view.rotated_keys, min(self.pivots, k))
        similarity = _cosine(view.hidden_states, pivots)
        chosen, count = [pivots], len(pivots)
        for turn, row in enumerate(similarity):
            taken = torch.cat(chosen)
            least = row.index_fill(0, taken, torch.inf).sort(stable=True).indices
            share = (k - 1 - turn) // count  # over all turns k - count, the first ones one more
            chosen.append(least[:share])
        return Selection(kept=torch.cat(chosen).sort().values)


def _largest(keys: torch.Tensor, count: int) -> torch.Tensor:
    """Return the ``count`` of [H_kv, N_a, d] keys with the largest L1 norm, largest first."""
    norms = keys.abs().sum((0, 2), dtype=accumulating(keys.dtype))
    return norms.sort(descending=True, stable=True).indices[:count]


def _cosine(states: torch.Tensor, pivots: torch.Tensor) -> torch.Tensor:
    """Return the cosine of P pivots to all [N_a, D] states, as [P, N_a]."""
    states = states.to(accumulating(states.dtype))
    unit = torch.nn.functional.normalize(states, dim=1)
    # a broken state counts as a copy: NaN would sort behind the infinity of what is taken
    return (unit[pivots] @ unit.mT).nan_to_num(1)
