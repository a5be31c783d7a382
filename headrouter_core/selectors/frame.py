"""Frame: uniform subsampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from headrouter_core.scoring import frame_indices
from headrouter_core.selectors.base import Need, Selection, View, choosing


@dataclass(frozen=True)
class Frame:
    """Keep the audio tokens ``i * N_a // k``.

    Source: the Frame baseline of AudioMarathon (arXiv 2510.07293), which the HeadRouter paper
    reuses. Neither says how tokens are spaced; AudioMarathon's code steps by N/k in floats and
    counts the audio markers in. Here the arithmetic is exact and markers are no audio tokens.
    """

    name: ClassVar[str] = "frame"
    needs: ClassVar[Need] = Need.NOTHING
    text_tokens: ClassVar[str] = "all"

    @choosing
    def __call__(self, view: View, k: int) -> Selection:
        """Choose ``k`` of the row's audio tokens; all rows of one length get the same."""
        return Selection(kept=frame_indices(view.audio_tokens, k, view.device))
