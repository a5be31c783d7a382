"""HeadRouter: query-key affinity, heads weighted by a profile that is routed per input."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch

from headrouter_core import routing, scoring
from headrouter_core.errors import ProfileMismatchError, UsageError
from headrouter_core.profile import Profile
from headrouter_core.recipe import CHOICES
from headrouter_core.selectors.base import Need, Selection, View

#: How head weights are mixed: by the input's spread, by its nearest center, by its spread with the
#: groups exchanged, or one vector always.
ROUTES = ("auto", "hard", "swapped", *routing.GROUPS)


@dataclass(frozen=True, eq=False)
class Routed:
    """What a profile makes of one row."""

    probe: torch.Tensor
    """[H, N_a], see :func:`headrouter_core.scoring.probe`."""
    weights: torch.Tensor
    """[H], the mixed head weights."""
    spread: torch.Tensor
    """Scalar."""
    mixing: torch.Tensor
    """[3]: semantic, uniform, acoustic."""


@dataclass(frozen=True, init=False)
class HeadRouter:
    """Keep the audio tokens that this question attends to most, by the heads that matter for it.

    Source: arXiv 2604.23717, Algorithm 1. What it leaves open is settled by the profile's recipe:

    - *Text tokens*: Eq. 15-17 do not say which text queries the audio. ``all`` or those ``after``
      the last audio token, as calibrated.
    - *Prefilter*: the ablation subsamples before scoring, Algorithm 1 does not. Here Frame leaves
      n_1 candidates, an exponent between none and pure Frame, as calibrated. The softmax of the
      probe and the spread that routes are over all N_a tokens; candidates only index the probe.
    - *Ablations*: ``route`` fixes the mixing. ``hard`` is how "hard threshold" is read: all weight
      on the nearest center. ``swapped`` gives semantic inputs the acoustic weights and the reverse
      (Fig. 2). ``uniform`` is the variant without router, ``exponent=0`` the one without prefilter.

    Args:
        profile: the calibrated profile of the model.
        route: ``auto`` (Eq. 12-13), ``hard``, ``swapped``, ``semantic``, ``uniform`` or
            ``acoustic``.
        text_tokens: ``all`` or ``after``; the recipe's unless given.
        exponent: prefilter exponent in [0, 1]; the recipe's unless given.

    Raises:
        UsageError: an argument that is none of these.
    """

    name: ClassVar[str] = "headrouter"
    needs: ClassVar[Need] = Need.QUERIES_KEYS

    profile: Profile
    route: str
    text_tokens: str
    exponent: float
    _moved: dict[tuple[torch.device, torch.dtype], tuple[torch.Tensor, torch.Tensor]] = field(
        repr=False, compare=False
    )

    def __init__(
        self,
        profile: Profile,
        *,
        route: str = "auto",
        text_tokens: str | None = None,
        exponent: float | None = None,
    ) -> None:
        recipe = profile.recipe
        text_tokens = recipe.text_tokens if text_tokens is None else text_tokens
        exponent = recipe.prefilter_exponent if exponent is None else exponent
        if route not in ROUTES:
            raise UsageError(f"there is no route {route!r}; known are {', '.join(ROUTES)}")
        if text_tokens not in CHOICES["text_tokens"]:
            known = ", ".join(CHOICES["text_tokens"])
            raise UsageError(f"text_tokens is {text_tokens!r}; known are {known}")
        if not 0 <= exponent <= 1:
            raise UsageError(f"exponent {exponent} is outside [0, 1]; 0 switches the prefilter off")
        for name, value in (
            ("profile", profile),
            ("route", route),
            ("text_tokens", text_tokens),
            ("exponent", exponent),
            ("_moved", {}),
        ):
            object.__setattr__(self, name, value)

    @torch.no_grad()
    def __call__(self, view: View, k: int) -> Selection:
        """Choose ``k`` of the row's audio tokens from its un-rotated queries and keys.

        Raises:
            ProfileMismatchError: the probe layer has another number of heads than the profile.
            UsageError: the view lacks queries or keys.
        """
        routed = self.route_view(view)
        importance = scoring.candidate_importance(routed.probe, routed.weights, k, self.exponent)
        return Selection(scoring.top_k(importance, k), importance, routed.spread, routed.mixing)

    @torch.no_grad()
    def route_view(self, view: View) -> Routed:
        """Probe a row and route it, for any method that weighs heads by a profile.

        Raises:
            ProfileMismatchError: the probe layer has another number of heads than the profile.
            UsageError: the view lacks queries or keys.
        """
        if view.queries is None or view.keys is None:
            raise UsageError("the view holds no queries and keys; headrouter needs both")
        heads, profiled = view.queries.shape[0], self.profile.model.heads
        if heads != profiled:
            raise ProfileMismatchError(
                f"the profile weighs {profiled} heads and the probe layer has {heads};"
                " calibrate a profile for this model"
            )
        probe = scoring.probe(view.queries, view.keys, view.scale)
        spread = scoring.spread(scoring.selectivity(probe))
        weights, mixing = self._route(spread)
        return Routed(probe, routing.route_weights(mixing, weights), spread, mixing)

    def _route(self, spread: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the three weight vectors [3, H] and the mixing [3], where the spread lives."""
        weights, centers = self._on(spread.device, spread.dtype)
        if self.route in ("auto", "swapped"):
            mixing = routing.mixing(spread, centers, self.profile.bandwidth)
            # reversed, semantic and acoustic change places
            return weights, mixing.flip(0) if self.route == "swapped" else mixing
        if self.route == "hard":
            return weights, routing.hard_mixing(spread, centers)
        fixed = torch.zeros_like(centers)
        fixed[routing.GROUPS.index(self.route)] = 1
        return weights, fixed

    def _on(self, device: torch.device, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Return weights and centers on a device; moved once, and nothing waits for it."""
        key = device, dtype
        if key not in self._moved:
            both = self.profile.weights, self.profile.centers
            weights, centers = (part.to(device, dtype, non_blocking=True) for part in both)
            self._moved[key] = weights, centers
        return self._moved[key]
