"""Random: the floor that every method has to clear."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar

import torch

from headrouter_core.basics.arguments import whole
from headrouter_core.selectors.base import Need, Selection, View, choosing


@dataclass(frozen=True)
class Random:
    """Keep ``k`` audio tokens drawn without replacement.

    Source: the Random baseline of AudioMarathon (arXiv 2510.07293), whose code draws unseeded.
    Here seed and sample number decide: batching, devices and earlier draws do not, and the
    caller's random state is left alone.

    Args:
        seed: any whole number.

    Raises:
        UsageError: ``seed`` is none.
    """

    name: ClassVar[str] = "random"
    needs: ClassVar[Need] = Need.NOTHING
    text_tokens: ClassVar[str] = "all"

    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", whole("seed", self.seed))

    @choosing
    def __call__(self, view: View, k: int) -> Selection:
        """Choose ``k`` of the row's audio tokens, the same whenever seed and sample are."""
        # hashed: neighbouring seeds and samples must not share a stream
        digest = hashlib.sha256(f"{self.seed} {view.sample}".encode()).digest()
        generator = torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "little"))
        # on the CPU whatever the default device is, so that devices do not differ
        drawn = torch.randperm(view.audio_tokens, generator=generator, device="cpu")[:k]
        return Selection(kept=drawn.sort().values.to(view.device, non_blocking=True))
