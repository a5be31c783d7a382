"""What a pruning context did: one entry a row of each prefill, in order."""

from __future__ import annotations

from dataclasses import dataclass

from headrouter_core.engine.choice.log import Log
from headrouter_core.selectors.base import Selection


@dataclass(frozen=True, eq=False, kw_only=True)
class Entry(Selection):
    """What was selected of one row of one prefill; tensors live where the pruning layer does.

    Without audio nothing is kept. States that replaced others are let go.
    """

    audio_tokens: int
    """N_a."""
    prompt_length: int
    """Tokens of the prompt, audio and markers included, padding excluded."""


class Trace(Log[Entry]):
    """The last entries of a pruning context; grows while the context is open, up to a limit.

    Beams and return sequences of a row share one entry. ``trace[0]`` is the oldest entry that is
    still there: number ``trace.dropped`` since the context was opened, counted from 0.
    """

    def __repr__(self) -> str:
        entries = self._snapshot()
        rows = [f"{entry.kept.numel()}/{entry.audio_tokens}" for entry in entries]
        before = [f"{self.dropped} dropped"] if self.dropped else []
        return f"Trace([{', '.join([*before, *rows])}])"
