"""Selectors for tests of the engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch

from headrouter_core.selectors.base import Need, Selection, View


def scattered(n: int, k: int, seed: int) -> torch.Tensor:
    """Return k of n indices, ascending, at random."""
    generator = torch.Generator("cpu").manual_seed(1000 * seed + n)
    return torch.randperm(n, generator=generator, device="cpu")[:k].sort().values


@dataclass(frozen=True)
class Scattered:
    """Keep tokens at random, differently in each row."""

    name: ClassVar[str] = "scattered"
    needs: ClassVar[Need] = Need.NOTHING
    text_tokens: str = "all"

    def __call__(self, view: View, k: int) -> Selection:
        return Selection(scattered(view.audio_tokens, k, view.sample).to(view.device))


@dataclass(frozen=True)
class Affinity:
    """Keep what the text's mean query likes best."""

    name: ClassVar[str] = "affinity"
    needs: ClassVar[Need] = Need.QUERIES_KEYS
    text_tokens: str = "all"

    def __call__(self, view: View, k: int) -> Selection:
        assert view.queries is not None
        assert view.keys is not None
        queries = view.queries.mean(1).unflatten(0, (view.keys.shape[0], -1)).mean(1)
        importance = (view.keys * queries[:, None]).sum((0, 2))
        return Selection(importance.topk(k).indices.sort().values, importance)


def merged(states: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Return what :class:`Merging` puts in place of kept states [k, D], out of all [N_a, D]."""
    return states[kept] * 0.5 + states.mean(0)


@dataclass(frozen=True)
class Merging:
    """Keep tokens at random and replace their states."""

    name: ClassVar[str] = "merging"
    needs: ClassVar[Need] = Need.HIDDEN_STATES
    text_tokens: str = "all"

    def __call__(self, view: View, k: int) -> Selection:
        assert view.hidden_states is not None
        kept = scattered(view.audio_tokens, k, view.sample).to(view.device)
        return Selection(kept, states=merged(view.hidden_states, kept))


EVERYTHING = Need.QUERIES_KEYS | Need.ROTATED_KEYS | Need.LAST_ATTENTION | Need.HIDDEN_STATES


@dataclass(frozen=True)
class Recorder:
    """Ask for everything and remember the views."""

    name: ClassVar[str] = "recorder"
    needs: ClassVar[Need] = EVERYTHING
    text_tokens: str = "all"
    views: list[View] = field(default_factory=list)

    def __call__(self, view: View, k: int) -> Selection:
        self.views.append(view)
        return Selection(scattered(view.audio_tokens, k, view.sample).to(view.device))
