"""Float64 where models compute in float32 whatever their dtype: norms, softmax, rotary phases."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class Doubled(TorchFunctionMode):
    """While open, whoever asks for float32 gets float64."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.Tensor.float:
            func = torch.Tensor.double
        named = {name: _wider(value) for name, value in (kwargs or {}).items()}
        return func(*map(_wider, args), **named)


def _wider(argument: Any) -> Any:
    return torch.float64 if argument is torch.float32 else argument


def doubled(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return inputs with their features in float64."""
    return {k: v.double() if v.is_floating_point() else v for k, v in inputs.items()}
