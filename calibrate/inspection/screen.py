"""One screen about a profile: at most 40 lines of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from calibrate.inspection.tables import COLOURS, SAMPLED
from calibrate.inspection.worth import worth
from headrouter_core.profile.profile import Profile
from headrouter_core.routing import GROUPS, VECTORS

_LEVELS = "▁▂▃▄▅▆▇█"
#: Heads in one line, and bins of the spreads where there is room.
_HEADS, _BINS = 64, 36
#: KV heads that are drawn: a screen has 40 lines.
_FOLLOWERS = 4
#: Columns beside the bins.
_BESIDE = 42


def screen(profile: Profile, title: str) -> Iterator[RenderableType]:
    """Yield its parts: which model and method, what it is worth, heads, spreads."""
    yield _facts(profile, title)
    yield "\n".join(worth(profile))
    yield _heads(profile)
    if profile.head_scores is not None:
        yield _followers(profile.head_scores, profile.calibration.get("heads", {}))
    if len(profile.tensors["calibration.spread"]):
        yield _Spreads(profile)


def _facts(profile: Profile, title: str) -> RenderableType:
    model, recipe = profile.model, profile.recipe
    samples, tasks = len(profile.calibration["samples"]), len(profile.calibration["tasks"])
    revision = f" @ {model.revision[:12]}" if model.revision else ""
    rows = {
        "model": f"{model.id}{revision}",
        "method": f"{recipe.selector}, prunes before layer {recipe.layer} of {model.layers}",
        "probe": f"{model.heads} heads; text tokens: {recipe.text_tokens}; route: {recipe.route}",
        "from": f"{samples} samples of {tasks} tasks, {profile.calibration['dtype']} on"
        f" {profile.calibration['device']}, headrouter {profile.version}",
    }
    table = Table.grid(padding=(0, 2))
    table.add_column(min_width=6)
    table.add_column(no_wrap=True, overflow="ellipsis")
    for name, value in rows.items():
        table.add_row(name, value)
    heading = Text(f"Profile {title}", style="bold", no_wrap=True, overflow="ellipsis")
    return Group(heading, table)


def _heads(profile: Profile) -> RenderableType:
    """Draw the weight of each head as a height: one line a vector, and 64 heads."""
    even = 1 / profile.model.heads
    full = float(profile.vectors.max())
    table = Table.grid(padding=(0, 2))
    shown = min(profile.model.heads, 2 * _HEADS)
    for name, weights in zip(VECTORS, profile.vectors.tolist(), strict=False):
        for first in range(0, shown, _HEADS):
            line = "".join(_level(weight / full) for weight in weights[first : first + _HEADS])
            table.add_row("" if first else name, Text(line, style=COLOURS[name]))
    heading = f"Head weights: heads 0 to {shown - 1}, the highest {full:.3f}, even {even:.3f}"
    return Group(Text(heading, style="bold"), table)


def _followers(scores: torch.Tensor, record: Mapping[str, Any]) -> RenderableType:
    """Draw how closely each KV head follows speech: a line of heads, the layers side by side."""
    full = float(scores.max())
    layers, heads = scores.shape
    lines = [
        "".join(_level(float(score) / full if full else 0) for score in scores[:, head])
        for head in range(min(heads, _FOLLOWERS))
    ]
    table = Table.grid(padding=(0, 2))
    for head, line in enumerate(lines):
        table.add_row(f"KV head {head}", Text(line[:_HEADS]))
    stable = record.get("stability")
    told = "" if stable is None else f"; halves of the recordings agree to {stable:.2f}"
    heading = f"Follows speech: layers 0 to {min(layers, _HEADS) - 1}, the highest {full:.2f}{told}"
    return Group(Text(heading, style="bold"), table)


@dataclass(frozen=True)
class _Spreads:
    """The spreads, as wide as there is room."""

    profile: Profile

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield _spreads(self.profile, max(12, min(_BINS, options.max_width - _BESIDE)))


def _spreads(profile: Profile, bins: int) -> RenderableType:
    """Draw where each group's spreads lie, and the three Gaussians of the routing below."""
    spread = profile.tensors["calibration.spread"].numpy()
    groups = profile.calibration["groups"]
    of_sample = np.array([groups[task] for task in profile.calibration["sample_tasks"]])
    centers, sigma = profile.centers.numpy(), profile.bandwidth
    low = min(spread.min(), centers.min() - sigma)
    high = max(spread.max(), centers.max() + sigma)
    table = Table.grid(padding=(0, 2))
    for group in SAMPLED:
        values = spread[of_sample == group]
        if len(values):
            counts, _ = np.histogram(values, bins=bins, range=(low, high))
            line = "".join(_level(count / counts.max()) if count else "·" for count in counts)
            table.add_row(f"{group} samples", Text(line, style=COLOURS[group]), str(len(values)))
    axis = np.linspace(low, high, bins)
    intervals = profile.calibration.get("intervals", {})
    for name, center in zip(GROUPS, centers, strict=True):
        line = "".join(map(_level, np.exp(-((axis - center) ** 2) / (2 * sigma**2))))
        interval = intervals.get(f"centers.{name}")
        note = f"{center:.3f}" + ("" if interval is None else " [{:.3f}, {:.3f}]".format(*interval))
        table.add_row(f"{name} center", Text(line, style=COLOURS[name]), note)
    table.add_row("", f"{low:<{bins // 2}.3f}{high:>{bins - bins // 2}.3f}", "")
    return Group(Text(f"Spread of the samples; bandwidth {sigma:.4f}", style="bold"), table)


def _level(share: float) -> str:
    """Return a block as high as ``share`` of a line."""
    return _LEVELS[min(len(_LEVELS) - 1, max(0, round(float(share) * len(_LEVELS)) - 1))]
