"""HeadRouter: query-key affinity, heads weighted by a profile that is routed per input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple
from weakref import WeakKeyDictionary

import torch

from headrouter_core import routing, scoring
from headrouter_core.basics.arguments import one_of, real, shown
from headrouter_core.errors import ProfileMismatchError, UsageError
from headrouter_core.profile.profile import Profile
from headrouter_core.profile.recipe import CHOICES
from headrouter_core.profile.schema import NEEDED
from headrouter_core.selectors.base import Need, Selection, View, choosing

#: What a recipe may say, and by spread with the groups exchanged.
ROUTES = (*routing.ROUTES, "swapped")


class _Parts(NamedTuple):
    """What of a profile is needed on a device."""

    weights: torch.Tensor
    """[V, H]."""
    centers: torch.Tensor
    """[3]."""
    rule: torch.Tensor | None
    """[H + 1]."""


#: Parts of profiles in use, wherever they were needed. Beside the selectors, so that these stay
#: plain values: to be copied, compared and sent elsewhere.
_moved: WeakKeyDictionary[Profile, dict[tuple[torch.device, torch.dtype], _Parts]] = (
    WeakKeyDictionary()
)


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
    """[V]: semantic, uniform, acoustic and, where the profile has such weights, pooled."""


@dataclass(frozen=True, init=False)
class HeadRouter:
    """Keep the audio tokens that this question attends to most, by the heads that matter for it.

    Source: arXiv 2604.23717, Algorithm 1. What it leaves open is settled by the profile's recipe:

    - *Text tokens*: Eq. 15-17 do not say which text queries the audio. ``all``, those ``after``
      the last audio token or the ``last`` one, as calibrated.
    - *Prefilter*: the ablation subsamples before scoring, Algorithm 1 does not. Here Frame leaves
      n_1 candidates, an exponent between none and pure Frame, as calibrated. The softmax of the
      probe and the spread that routes are over all N_a tokens; candidates only index the probe.
    - *Route*: the paper mixes by spread (``auto``, Eq. 12-13). The recipe says what was better on
      the calibration samples: that, one vector always (``pooled`` is fitted on all samples without
      their group), or a logistic rule on the selectivities (``selectivity``).
    - *Ablations*: ``route`` fixes the mixing. ``hard`` is how "hard threshold" is read: all weight
      on the nearest center. ``swapped`` gives semantic inputs the acoustic weights and the reverse
      (Fig. 2). ``uniform`` is the variant without router, ``exponent=0`` the one without prefilter.

    Args:
        profile: the calibrated profile of the model.
        route: ``auto`` (Eq. 12-13), ``hard``, ``swapped``, ``selectivity``, ``semantic``,
            ``uniform``, ``acoustic`` or ``pooled``; the recipe's unless given.
        text_tokens: ``all``, ``after`` or ``last``; the recipe's unless given.
        exponent: prefilter exponent in [0, 1]; the recipe's unless given.

    Raises:
        UsageError: an argument that is none of these, or a route that the profile has no numbers
            for.
    """

    name: ClassVar[str] = "headrouter"
    needs: ClassVar[Need] = Need.QUERIES_KEYS

    profile: Profile
    route: str
    text_tokens: str
    exponent: float

    def __init__(
        self,
        profile: Profile,
        *,
        route: str | None = None,
        text_tokens: str | None = None,
        exponent: float | None = None,
    ) -> None:
        recipe = checked(profile).recipe
        route = one_of("route", recipe.route if route is None else route, ROUTES)
        if NEEDED.get(route, "centers") not in profile.tensors:
            raise UsageError(
                f"route is {route!r}, and the profile of {profile.model.id} holds no"
                f" {NEEDED[route]}; calibrate again, or take another route"
            )
        text_tokens = recipe.text_tokens if text_tokens is None else text_tokens
        exponent = recipe.prefilter_exponent if exponent is None else exponent
        for name, value in (
            ("profile", profile),
            ("route", route),
            ("text_tokens", one_of("text_tokens", text_tokens, CHOICES["text_tokens"])),
            ("exponent", real("exponent", exponent, 0, 1, "0 switches the prefilter off")),
        ):
            object.__setattr__(self, name, value)

    @choosing
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
        selectivity = scoring.selectivity(probe)
        spread = scoring.spread(selectivity)
        parts = _on(self.profile, spread.device, spread.dtype)
        mixing = self._mix(parts, selectivity, spread)
        return Routed(probe, routing.route_weights(mixing, parts.weights), spread, mixing)

    def _mix(self, parts: _Parts, selectivity: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
        """Return the mixing [V], where the spread lives."""
        if self.route in routing.VECTORS:
            fixed = torch.zeros_like(parts.weights[:, 0])
            fixed[routing.VECTORS.index(self.route)] = 1
            return fixed
        if parts.rule is not None and self.route == "selectivity":
            mixing = routing.selectivity_mixing(selectivity, parts.rule)
        elif self.route == "hard":
            mixing = routing.hard_mixing(spread, parts.centers)
        else:
            mixing = routing.mixing(spread, parts.centers, self.profile.bandwidth)
        if self.route == "swapped":  # reversed, semantic and acoustic change places
            mixing = mixing.flip(0)
        return torch.nn.functional.pad(mixing, (0, len(parts.weights) - len(mixing)))


def checked(profile: Profile) -> Profile:
    """Return a profile, or raise.

    Raises:
        UsageError: it is something else.
    """
    if not isinstance(profile, Profile):
        raise UsageError(f"profile is {shown(profile)}; pass what load_profile returns")
    return profile


def _on(profile: Profile, device: torch.device, dtype: torch.dtype) -> _Parts:
    """Return the parts of a profile on a device; moved once, and nothing waits for it."""
    places = _moved.setdefault(profile, {})
    if (device, dtype) not in places:
        # not of inference mode, even when first used in it: a later context may train
        with torch.inference_mode(False):
            weights, centers = (
                part.to(device, dtype, non_blocking=True)
                for part in (profile.vectors, profile.centers)
            )
            rule = profile.rule
            if rule is not None:
                rule = rule.to(device, dtype, non_blocking=True)
        places[device, dtype] = _Parts(weights, centers, rule)
    return places[device, dtype]
