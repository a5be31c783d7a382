"""Adaptive segments: one token for each stretch in which the audio, as heard so far, moves on."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from headrouter_core import scoring
from headrouter_core.basics.arguments import one_of, real
from headrouter_core.basics.precision import accumulating
from headrouter_core.errors import UsageError
from headrouter_core.profile.profile import Profile
from headrouter_core.profile.recipe import TOKENS
from headrouter_core.selectors import runs
from headrouter_core.selectors.base import Merge, Need, Selection, View, choosing
from headrouter_core.selectors.headrouter import HeadRouter, checked


@dataclass(frozen=True, init=False)
class AdaptiveSegments:
    """Cut the audio into k segments and keep the most important token of each.

    Coverage, redundancy and importance each have their part:

    1. The states of the audio tokens on entry to layer M, scaled to unit length, travel along a
       path. Segments take equal parts of it: each token counts the length of its step from the one
       before to the power ``change``, times its importance to the power ``sharpness``. So silence
       and steady sound make long segments, change makes short ones, and no stretch of time is left
       without a token.
    2. Of each segment the ``important`` token is kept, the one with the highest importance:
       HeadRouter's (Eq. 7), with the head weights of the profile. Or its ``first``.
    3. It carries the share ``merge`` of the segment's mean, weighted by importance, beside its own
       state: what was dropped is not lost.

    One pass over the tokens, besides two sorts: no token is compared with any but its neighbour.
    With the ``first`` token and no change, sharpness or merging, it is exactly Frame; how far from
    there a model is served best at a ratio is for ``calibrate`` to find out.

    Source: this project; ``benchmarks/results`` holds the comparison. What it builds on: segments
    of equal length that each keep their most important tokens are Segmentwise Top-K's
    (arXiv 2511.14293), and neighbours that are merged A-ToMe's (arXiv 2306.16009). Several audios
    of a prompt are cut as one path.

    Args:
        profile: the calibrated profile of the model; what is not given here is taken from its
            recipe's parameters for this selector, those of the ratio nearest to what is asked for,
            and else from :data:`DEFAULTS`.
        route: how head weights are mixed, see :class:`~headrouter_core.HeadRouter`.
        token: which one of a segment is kept, ``first`` or ``important``.
        change: exponent of the step in the density, 0 to 4; 0 cuts by importance alone.
        sharpness: exponent of the importance in the density, 0 to 4; 0 cuts by change alone.
        merge: from 0, the kept token's own state, to 1, the segment's mean.
        text_tokens: whose queries are probed, ``all``, ``after`` or ``last``; the recipe's unless
            given.

    Raises:
        UsageError: an argument that is none of these.
    """

    name: ClassVar[str] = "adaptive_segments"
    needs: ClassVar[Need] = Need.QUERIES_KEYS | Need.HIDDEN_STATES

    profile: Profile
    route: str
    token: str | None
    change: float | None
    sharpness: float | None
    merge: float | None
    text_tokens: str

    def __init__(
        self,
        profile: Profile,
        *,
        route: str | None = None,
        token: str | None = None,
        change: float | None = None,
        sharpness: float | None = None,
        merge: float | None = None,
        text_tokens: str | None = None,
    ) -> None:
        calibrated = checked(profile).recipe.selector_parameters.get(self.name, DEFAULTS)
        if token is not None:
            one_of("token", token, TOKENS)
        object.__setattr__(self, "token", token)
        for name, value, high, hint in (
            ("change", change, 4, "0 cuts by importance alone"),
            ("sharpness", sharpness, 4, "0 cuts by change alone"),
            ("merge", merge, 1, "0 keeps states as they are"),
        ):
            number = None if value is None else real(name, value, 0, high, hint)
            object.__setattr__(self, name, number)
        route = calibrated["route"] if route is None else route
        router = HeadRouter(profile, route=route, text_tokens=text_tokens, exponent=0)
        for name in ("profile", "route", "text_tokens"):
            object.__setattr__(self, name, getattr(router, name))

    def settings(self, k: int, audio_tokens: int) -> dict[str, Any]:
        """Return token, change, sharpness and merge as they hold where k of so many are kept."""
        calibrated = self.profile.recipe.selector_parameters.get(self.name, {})
        if by_ratio := calibrated.get("by_ratio"):
            pruned = 1 - k / audio_tokens
            # of two that are as near, the lower: it does less
            nearest = min(by_ratio, key=lambda ratio: (abs(float(ratio) - pruned), float(ratio)))
            calibrated = by_ratio[nearest]
        found = {}
        for name in SETTINGS:
            given = getattr(self, name)
            found[name] = calibrated.get(name, DEFAULTS[name]) if given is None else given
        return found

    @functools.cached_property
    def router(self) -> HeadRouter:
        """What probes and routes."""
        return HeadRouter(self.profile, route=self.route, text_tokens=self.text_tokens, exponent=0)

    @choosing
    def __call__(self, view: View, k: int) -> Selection:
        """Choose ``k`` of the row's audio tokens, and the states [k, D], float32, that they get.

        Raises:
            ProfileMismatchError: the probe layer has another number of heads than the profile.
            UsageError: the view lacks queries, keys or hidden states, or ``k`` is out of range.
        """
        states = view.hidden_states
        if states is None or view.queries is None or view.keys is None:
            raise UsageError(
                "the view lacks hidden states, queries or keys; adaptive_segments needs all three"
            )
        routed = self.router.route_view(view)
        importance = scoring.importance(routed.probe, routed.weights)
        cut = segments(importance, states, k, **self.settings(k, len(states)))
        return replace(cut, importance=importance, spread=routed.spread, mixing=routed.mixing)


#: What calibration chooses for each ratio.
SETTINGS = ("token", "change", "sharpness", "merge")

#: What holds where a profile says nothing of this selector.
DEFAULTS: Mapping[str, Any] = {
    "route": "auto",
    "token": "important",
    "change": 0.75,
    "sharpness": 0.1,
    "merge": 0.75,
}


def segments(
    importance: torch.Tensor,
    states: torch.Tensor,
    k: int,
    change: float,
    sharpness: float,
    merge: float,
    token: str = "important",
) -> Selection:
    """Cut [N_a] tokens into k segments; the rule of :class:`AdaptiveSegments` by itself.

    Args:
        importance: [N_a], not negative.
        states: [N_a, D].
        k: segments, which is the number of kept tokens.
        change: exponent of the step.
        sharpness: exponent of the importance.
        merge: share of the segment's mean in a kept token's state; with 0 states stay.
        token: which one of a segment is kept, see :data:`TOKENS`.

    Raises:
        UsageError: ``k`` outside [1, N_a].
    """
    if not 1 <= k <= len(states):
        raise UsageError(f"cannot keep {k} of {len(states)} audio tokens; keep 1 to all of them")
    states = states.to(accumulating(states.dtype))
    density = path(states).pow(change) * importance.pow(sharpness).to(states.dtype)
    starts = runs.of_equal_mass(density, k)
    kept = starts if token == "first" else runs.best(importance, starts)
    if not merge:
        return Selection(kept)
    # where a whole segment's importance underflows to 0, its tokens count alike
    weights = importance.clamp(min=torch.finfo(importance.dtype).tiny)
    means = runs.means(states, starts, weights)
    own = states.new_full((k,), 1 - merge)
    shares = (merge * runs.shares(weights.to(states), starts)).index_add(0, kept, own)
    return Selection(
        kept,
        states=torch.lerp(states[kept], means, merge),
        merge=Merge(runs.numbers(starts, len(states)), shares),
    )


def path(states: torch.Tensor) -> torch.Tensor:
    """Return how far each of [N_a, D] states is from the one before, scaled to unit length: [N_a].

    The first token, which has none before it, counts as far as the mean of the others.
    """
    unit = torch.nn.functional.normalize(states, dim=1)
    steps = torch.linalg.vector_norm(unit[1:] - unit[:-1], dim=1)
    # the mean of no steps at all is NaN
    first = steps.mean() if len(steps) else torch.ones_like(states[0, 0])
    return torch.cat([first[None], steps])
