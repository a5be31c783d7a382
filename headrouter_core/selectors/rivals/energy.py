"""Energy: the loudest tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from headrouter_core import scoring
from headrouter_core.basics.arguments import shown
from headrouter_core.basics.precision import accumulating
from headrouter_core.errors import UsageError
from headrouter_core.selectors.base import Need, Selection, View, choosing


@dataclass(frozen=True, eq=False)
class Energy:
    """Keep the loudest audio tokens.

    Source: the energy oracle of the HeadRouter paper (arXiv 2604.23717). It looks at the waveform,
    which the core does not read: how loud each token is, is handed in, and how that is measured is
    the caller's choice. Only the order of the values matters; ties go to the lower index.

    Args:
        loudness: one tensor [N_a] a row, in any unit, several audios of a row one after the other.
            Rows without audio count: theirs is empty. Row n takes entry n modulo their number, so
            that a batch may run again; one entry serves one recording however often it is asked.

    Raises:
        UsageError: ``loudness`` is no sequence of such tensors.
    """

    name: ClassVar[str] = "energy"
    needs: ClassVar[Need] = Need.NOTHING
    text_tokens: ClassVar[str] = "all"

    loudness: Sequence[torch.Tensor] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.loudness, Sequence | torch.Tensor):
            raise UsageError(f"loudness is {shown(self.loudness)}; give one tensor [N_a] a row")
        for index, entry in enumerate(self.loudness):
            real = isinstance(entry, torch.Tensor) and not entry.is_complex()
            if not real or entry.ndim != 1:
                raise UsageError(f"loudness {index} is {shown(entry)}; give one tensor [N_a] a row")
        object.__setattr__(self, "loudness", tuple(self.loudness))

    @choosing
    def __call__(self, view: View, k: int) -> Selection:
        """Choose ``k`` of the row's audio tokens by the loudness handed in.

        Raises:
            UsageError: no loudness, or not one value an audio token; or ``k`` is out of range.
        """
        if not len(self.loudness):
            raise UsageError("energy was given no loudness; give one tensor [N_a] for each row")
        entry = view.sample % len(self.loudness)
        loudness = self.loudness[entry]
        if loudness.shape != (view.audio_tokens,):
            raise UsageError(
                f"loudness {entry} has shape {list(loudness.shape)} and row {view.sample} has"
                f" {view.audio_tokens} audio tokens; give one value for each of them"
            )
        importance = loudness.to(view.device, accumulating(loudness.dtype), non_blocking=True)
        return Selection(scoring.top_k(importance, k), importance)
