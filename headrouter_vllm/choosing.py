"""Choosing among an audio's embeddings with ``headrouter_core``'s selectors; imports no vLLM."""

from __future__ import annotations

import torch

from headrouter_core.profile.profile import Profile
from headrouter_core.selectors import AdaptiveSegments, Frame, HeadRouter, Segments
from headrouter_core.selectors.base import Selector, View
from headrouter_vllm.settings import Settings


def selector(settings: Settings, profile: Profile | None) -> Selector:
    """Return the selector that settings name."""
    cutting = {
        name: value
        for name in ("change", "merge")
        if (value := getattr(settings, name)) is not None
    }
    if settings.method == "frame":
        return Frame()
    if settings.method == "segments":
        return Segments(**cutting)
    assert profile is not None  # Settings sees to it
    if settings.method == "headrouter":
        return HeadRouter(profile)
    return AdaptiveSegments(profile, **cutting)


def chosen(
    selector: Selector, view: View, embeddings: torch.Tensor, k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the kept indices [k] of [N_a, D] embeddings, and the embeddings [k, D] they get.

    As :func:`headrouter_core.prune_inputs` has it: means, where a method merges, are of embeddings.
    """
    count = len(embeddings)
    if k == count:
        return torch.arange(count, device=embeddings.device), embeddings
    selection = selector(view, k)
    if selection.merge is None:
        return selection.kept, embeddings[selection.kept]
    return selection.kept, selection.merge.of(embeddings, k).to(embeddings.dtype)
