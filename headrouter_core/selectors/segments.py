"""Segments: one token for each stretch in which the audio moves on, whatever is asked about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from headrouter_core.basics.arguments import real
from headrouter_core.errors import UsageError
from headrouter_core.selectors.adaptive_segments import segments
from headrouter_core.selectors.base import Need, Selection, View, choosing


@dataclass(frozen=True)
class Segments:
    """Cut the audio into k segments of equal change; keep the first token of each.

    What is left of :class:`~headrouter_core.AdaptiveSegments` without a question and a profile: it
    reads states alone. From layer 0 on, which ``prune_inputs`` takes, these are what the audio
    encoder puts out: the same for every question, so that engines can share them.

    Source: this project; see AdaptiveSegments for what it builds on.

    Args:
        change: exponent of the step in the density, 0 to 4; 0 cuts segments of equal length.
        merge: from 0, the kept token's own state, to 1, the segment's mean.

    Raises:
        UsageError: an argument that is none of these.
    """

    name: ClassVar[str] = "segments"
    needs: ClassVar[Need] = Need.HIDDEN_STATES
    text_tokens: ClassVar[str] = "all"

    change: float = 0.75
    merge: float = 0.75

    def __post_init__(self) -> None:
        for name, high, hint in (
            ("change", 4, "0 cuts segments of equal length"),
            ("merge", 1, "0 keeps states as they are"),
        ):
            object.__setattr__(self, name, real(name, getattr(self, name), 0, high, hint))

    @choosing
    def __call__(self, view: View, k: int) -> Selection:
        """Choose ``k`` of the row's audio tokens, and the states [k, D], float32, that they get.

        Raises:
            UsageError: the view lacks hidden states, or ``k`` is out of range.
        """
        states = view.hidden_states
        if states is None:
            raise UsageError("the view lacks hidden states; segments needs them")
        alike = torch.ones(len(states), device=states.device)
        return segments(alike, states, k, self.change, 0, self.merge)
