"""The optimisers of the training, and the exchange of gradients between processes."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import nn

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


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al., 2024): momentum, made orthogonal by five Newton-Schulz iterations.

    Unlike ``torch.optim.Muon`` it iterates in float32, several times faster on a CPU without
    bfloat16, on all matrices of one shape at once, and the processes share the work.
    """

    def __init__(self, params: list[nn.Parameter], weight_decay: float) -> None:
        super().__init__(params, {"lr": 0.0, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Update the matrices that have gradients; all processes must call it."""
        (group,) = self.param_groups
        alike: dict[torch.Size, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            if parameter.grad is not None:
                alike.setdefault(parameter.shape, []).append(parameter)
        if not alike:
            return
        stacks = [self._momenta(parameters) for parameters in alike.values()]
        if dist.is_initialized():
            _share(stacks)
        else:
            stacks = [orthogonalized(stack) for stack in stacks]
        for (shape, parameters), updates in zip(alike.items(), stacks, strict=True):
            # so that updates have the size of AdamW's, and its learning rate and decay fit
            size = group["lr"] * 0.2 * max(shape) ** 0.5
            weights: list[torch.Tensor] = list(parameters)
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(weights, list(updates), alpha=-size)

    def _momenta(self, parameters: list[nn.Parameter]) -> torch.Tensor:
        gradients = torch.stack([p.grad for p in parameters if p.grad is not None])
        for parameter in parameters:
            self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
        momenta = [self.state[parameter]["momentum"] for parameter in parameters]
        torch._foreach_lerp_(momenta, list(gradients), 0.05)
        return gradients.lerp(torch.stack(momenta), 0.95)


def _share(stacks: list[torch.Tensor]) -> None:
    """Orthogonalise each stack in place, every process its part of the matrices."""
    for stack in stacks:
        mine = slice(rank(), None, processes())
        part = orthogonalized(stack[mine])
        stack.zero_()
        stack[mine] = part
    flat = torch.cat([stack.flatten() for stack in stacks])
    dist.all_reduce(flat)
    parts = flat.split([stack.numel() for stack in stacks])
    torch._foreach_copy_(stacks, [p.view_as(s) for p, s in zip(parts, stacks, strict=True)])


def orthogonalized(matrices: torch.Tensor) -> torch.Tensor:
    """Matrices [n, a, b] with all their singular values brought near 1 (quintic Newton-Schulz)."""
    tall = matrices.shape[1] > matrices.shape[2]
    x: torch.Tensor = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.775 * gram + 2.0315 * gram @ gram) @ x
    return x.mT if tall else x


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
            Muon(inside, weight_decay=0.05),
            torch.optim.AdamW(groups, betas=(0.9, 0.98)),
        )

    def step(self, rate: float) -> None:
        """Update all parameters at one learning rate, and drop the gradients."""
        for optimizer in self._all:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        """The states of both."""
        return [optimizer.state_dict() for optimizer in self._all]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Restore what :meth:`state_dict` gave."""
        for optimizer, state in zip(self._all, states, strict=True):
            optimizer.load_state_dict(state)
