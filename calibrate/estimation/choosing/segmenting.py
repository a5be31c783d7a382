"""The settings of adaptive segments for each ratio, chosen after everything of HeadRouter's.

They lie on a short path that begins at Frame and goes outward: what is dropped is merged in, then
the important token of a segment is kept, then segments follow change and importance, ever more. The
setting taken is the nearest to Frame within one standard error of the best, so that a model, or a
ratio, for which nothing is certain to be better than Frame gets Frame. Head weights are routed as
HeadRouter's are. What judges a sample was never fitted on its fold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from calibrate.estimation.bench import Bench
from calibrate.estimation.choosing.material import Candidate, Material, Tick, routed_weights
from headrouter_core import scoring
from headrouter_core.selectors import Selection
from headrouter_core.selectors.adaptive_segments import SETTINGS, segments

#: Token, change, sharpness and merge of each step, from Frame outward.
PATH: tuple[dict[str, Any], ...] = tuple(
    dict(zip(SETTINGS, step, strict=True))
    for step in (
        ("first", 0.0, 0.0, 0.0),
        ("first", 0.0, 0.0, 0.75),
        ("important", 0.0, 0.0, 0.75),
        ("important", 0.375, 0.05, 0.75),
        ("important", 0.75, 0.1, 0.75),
        ("important", 1.0, 0.25, 0.75),
    )
)


@dataclass(frozen=True)
class SegmentChoice:
    """The chosen settings by ratio, and the validated loss of every step of the path."""

    route: str
    by_ratio: dict[str, dict[str, Any]]
    losses: dict[str, float]

    @property
    def settings(self) -> dict[str, Any]:
        """The selector's parameters as they stand in the recipe."""
        return {"route": self.route, "by_ratio": self.by_ratio}


def choose_segments(
    material: Material,
    candidate: Candidate,
    text_tokens: str,
    factor: float,
    route: str,
    ratios: Sequence[float],
    tick: Tick,
) -> SegmentChoice:
    """Choose a step of :data:`PATH` for each ratio.

    Args:
        material: the samples.
        candidate: the chosen rule and strength of the head weights.
        text_tokens: as chosen.
        factor: of the bandwidth, as chosen.
        route: as chosen.
        ratios: pruning ratios.
        tick: called once a sample.
    """
    crossed, routers = material.crossed(candidate), material.routers(text_tokens, factor)

    def cuts(bench: Bench) -> list[Selection]:
        fold = bench.sample.fold
        weights = routed_weights(bench, text_tokens, route, routers[fold], crossed[fold])
        return [cut(bench, text_tokens, weights, step, r) for r in ratios for step in PATH]

    losses = material.losses("segments", cuts, tick).reshape(-1, len(ratios), len(PATH))
    by_ratio: dict[str, dict[str, Any]] = {}
    named: dict[str, float] = {}
    for index, ratio in enumerate(ratios):
        chosen, means = material.choose(losses[:, index])
        by_ratio[f"{ratio:g}"] = dict(PATH[chosen])
        named |= {f"{ratio:g}/{step}": mean for step, mean in enumerate(means)}
    return SegmentChoice(route, by_ratio, named)


def cut(
    bench: Bench,
    text_tokens: str,
    weights: torch.Tensor,
    settings: Mapping[str, Any],
    ratio: float,
) -> Selection:
    """What adaptive segments keep with given head weights [H] and settings."""
    importance = scoring.importance(bench.probe(text_tokens), weights)
    k = scoring.keep_count(bench.audio_tokens, ratio)
    return segments(importance, bench.states, k, **settings)
