"""The optimisers of the training, and the exchange of gradients between processes."""

from __future__ import annotations

import torch
import torch.distributed as dist

from tiny_omni.trainee import Trainee


def rank() -> int:
    """Number of this process, 0 when alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def processes() -> int:
    """How many processes share the training."""
    return dist.get_world_size() if dist.is_initialized() else 1


def share_gradients(trainee: Trainee) -> None:
    """Average the gradients over the processes, in one exchange."""
    if not dist.is_initialized():
        return
    gradients = [p.grad for p in trainee.parameters() if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    parts = flat.split([gradient.numel() for gradient in gradients])
    torch._foreach_copy_(gradients, [p.view_as(g) for p, g in zip(parts, gradients, strict=True)])


class Optimizers:
    """Muon for the matrices inside the layers, AdamW for everything else, as one."""

    def __init__(self, trainee: Trainee) -> None:
        layers = (trainee.omni.model.audio_tower.layers, trainee.omni.model.language_model.layers)
        inside = [p for stack in layers for p in stack.parameters() if p.ndim == 2]
        known = set(inside)
        others = [p for p in trainee.parameters() if p not in known]
        groups = [
            {"params": [p for p in others if p.ndim >= 2], "weight_decay": 0.05},
            {"params": [p for p in others if p.ndim < 2], "weight_decay": 0.0},
        ]
        self._all = (
            torch.optim.Muon(inside, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(groups, betas=(0.9, 0.98)),
        )

    def step(self, rate: float) -> None:
        """Update all parameters at one learning rate, and drop the gradients."""
        for optimizer in self._all:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict]:
        """The states of both."""
        return [optimizer.state_dict() for optimizer in self._all]

    def load_state_dict(self, states: list[dict]) -> None:
        """Restore what :meth:`state_dict` gave."""
        for optimizer, state in zip(self._all, states, strict=True):
            optimizer.load_state_dict(state)
