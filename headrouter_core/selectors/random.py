"""Random: the floor that every method has to clear."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar

import torch

from headrouter_core.errors import UsageError
from headrouter_core.selectors.base import Need, Selection, View


@dataclass(frozen=True)
class Random:
    """Keep ``k`` audio tokens drawn without replacement.

    Source: the Random baseline of AudioMarathon (arXiv 2510.07293), whose code draws unseeded.
    Here seed and sample number decide: batching, devices and earlier draws do not, and the
    caller's random state is left alone.
    """

    name: ClassVar[str] = "random"
    needs: ClassVar[Need] = Need.NOTHING
    text_tokens: ClassVar[str] = "all"

    seed: int = 0

    def __call__(self, view: View, k: int) -> Selection:
        """Choose ``k`` of the row's audio tokens, the same whenever seed and sample are."""
        if not 1 <= k <= view.audio_tokens:
            raise UsageError(f"cannot keep {k} of {view.audio_tokens} audio tokens")
        # hashed: neighbouring seeds and samples must not share a stream
        digest = hashlib.sha256(f"{self.seed} {view.sample}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little"))
        drawn = torch.randperm(view.audio_tokens, generator=generator)[:k]
        return Selection(kept=drawn.sort().values.to(view.device, non_blocking=True))
