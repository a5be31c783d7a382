"""The state of a training run on disk: written whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn


@dataclass
class Run:
    """What a run consists of besides the frozen weights."""

    settings: dict[str, Any]
    """What it was started with; a run goes on only with the same."""
    parameters: dict[str, nn.Parameter]
    averaged: dict[str, torch.Tensor]
    """Running mean of the parameters: what is validated and delivered."""
    optimizer: torch.optim.Optimizer
    replies: list[list[int]] = field(default_factory=list)
    """SmolLM2's own replies to the texts."""
    step: int = 0
    seconds: float = 0.0

    def average(self, keep: float) -> None:
        """Move the running mean towards the parameters."""
        means, now = list(self.averaged.values()), list(self.parameters.values())
        torch._foreach_lerp_(means, [p.detach() for p in now], 1 - keep)

    def save(self, path: Path) -> None:
        """Write the checkpoint; a run killed meanwhile finds the previous one."""
        temporary = path.with_suffix(".tmp")
        torch.save(
            {
                "settings": self.settings,
                "parameters": {name: p.detach() for name, p in self.parameters.items()},
                "averaged": self.averaged,
                "optimizer": self.optimizer.state_dict(),
                "replies": self.replies,
                "step": self.step,
                "seconds": self.seconds,
            },
            temporary,
        )
        temporary.replace(path)

    @torch.no_grad()
    def restore(self, path: Path, device: torch.device) -> None:
        """Go on from a checkpoint.

        Raises ``ValueError`` where it was started with other settings.
        """
        saved = torch.load(path, map_location=device, weights_only=True)
        other = {k for k in self.settings if saved["settings"].get(k) != self.settings[k]}
        if other:
            raise ValueError(
                f"{path} was started with another {', '.join(sorted(other))}; go on with the same"
                f" ({ {k: saved['settings'].get(k) for k in sorted(other)} }) or in another --work"
            )
        for name, parameter in self.parameters.items():
            parameter.copy_(saved["parameters"][name])
            self.averaged[name].copy_(saved["averaged"][name])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.replies = saved["replies"]
        self.step, self.seconds = saved["step"], saved["seconds"]
