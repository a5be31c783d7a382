"""What a Whisper encoder takes: conv1, conv2 of stride 2, then layers that see windows of columns.

Qwen2-Audio, Qwen2.5-Omni, Audio Flamingo, Voxtral, GLM-ASR and MOSS have one. Other encoders are
not counted, which is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from calibrate.planning.blueprint import Blueprint


@dataclass(frozen=True)
class Encoder:
    """A Whisper encoder in numbers."""

    frames_per_second: float
    """Of features; two of them become one column."""
    convolutions: tuple[int, int]
    """Weights of each."""
    layers: int
    """Weights of all layers that a column is multiplied with."""
    attended: int
    """Query heads times the dimensions of a query and a value, over all layers."""
    window: int
    """Columns that see each other."""
    padded: bool
    """Whether the last window is filled up."""

    @classmethod
    def of(cls, blueprint: Blueprint) -> Encoder | None:
        """Read the shapes of a model's encoder; ``None`` where it is of another kind."""
        tower = _tower(blueprint.anatomy.root)
        extractor: Any = getattr(blueprint.frontend, "extractor", None)
        hop = getattr(extractor, "hop_length", None)
        if tower is None or hop is None:
            return None
        weights = sum(
            part.numel() for layer in tower.layers for part in layer.parameters() if part.ndim == 2
        )
        chunk = getattr(tower.config, "n_window", None)
        return cls(
            frames_per_second=blueprint.frontend.sample_rate / hop,
            convolutions=(tower.conv1.weight.numel(), tower.conv2.weight.numel()),
            layers=weights,
            attended=2 * len(tower.layers) * int(tower.conv2.weight.shape[0]),
            window=int(chunk or tower.config.max_source_positions),
            padded=chunk is None,
        )

    def flops(self, seconds: float) -> int:
        """``2 f C_1 + 2 c C_2 + 2 c W + 4 c w D L``: f frames, c = f / 2 columns, w a window."""
        columns = round(seconds * self.frames_per_second / 2)
        whole, rest = divmod(columns, self.window)
        if rest and self.padded:
            whole, rest = whole + 1, 0
        columns = whole * self.window + rest
        pairs = whole * self.window**2 + rest**2
        first, second = self.convolutions
        products = 2 * columns * (2 * first + second + self.layers)
        return products + 2 * pairs * self.attended


def _tower(root: nn.Module) -> Any:
    for module in root.modules():
        parts = dict(module.named_children())
        if {"conv1", "conv2", "layers"} <= set(parts) and isinstance(parts["conv1"], nn.Conv1d):
            return module
    return None
