"""HeadRouter: query-key affinity, heads weighted by a profile that is routed per input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar
from weakref import WeakKeyDictionary

import torch

from headrouter_core import routing, scoring
from headrouter_core.basics.arguments import one_of, real, shown
from headrouter_core.errors import ProfileMismatchError, UsageError
from headrouter_core.profile.profile import Profile
from headrouter_core.profile.recipe import CHOICES
from headrouter_core.selectors.base import Need, Selection, View, choosing

#: How head weights are mixed: by the input's spread, by its nearest center, by its spread with the
#: groups exchanged, or one vector always.
ROUTES = ("auto", "hard", "swapped", *routing.GROUPS)

#: Weights [3, H] and centers [3] of profiles in use, wherever they were needed. Beside the
#: selectors, so that these stay plain values: to be copied, compared and sent elsewhere.
_moved: WeakKeyDictionary[
    Profile, dict[tuple[torch.device, torch.dtype], tuple[torch.Tensor, torch.Tensor]]
] = WeakKeyDictionary()


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

    def __init__(
        self,
        profile: Profile,
        *,
        route: str = "auto",
        text_tokens: str | None = None,
        exponent: float | None = None,
    ) -> None:
        recipe = checked(profile).recipe
        text_tokens = recipe.text_tokens if text_tokens is None else text_tokens
        exponent = recipe.prefilter_exponent if exponent is None else exponent
        for name, value in (
            ("profile", profile),
            ("route", one_of("route", route, ROUTES)),
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
        spread = scoring.spread(scoring.selectivity(probe))
        weights, mixing = self._route(spread)
        return Routed(probe, routing.route_weights(mixing, weights), spread, mixing)

    def _route(self, spread: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the three weight vectors [3, H] and the mixing [3], where the spread lives."""
        weights, centers = _on(self.profile, spread.device, spread.dtype)
        if self.route in ("auto", "swapped"):
            mixing = routing.mixing(spread, centers, self.profile.bandwidth)
            # reversed, semantic and acoustic change places
            return weights, mixing.flip(0) if self.route == "swapped" else mixing
        if self.route == "hard":
            return weights, routing.hard_mixing(spread, centers)
        fixed = torch.zeros_like(centers)
        fixed[routing.GROUPS.index(self.route)] = 1
        return weights, fixed


def checked(profile: Profile) -> Profile:
    """Return a profile, or raise.

    Raises:
        UsageError: it is something else.
    """
    if not isinstance(profile, Profile):
        raise UsageError(f"profile is {shown(profile)}; pass what load_profile returns")
    return profile


def _on(
    profile: Profile, device: torch.device, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weights and centers on a device; moved once, and nothing waits for it."""
    places = _moved.setdefault(profile, {})
    if (device, dtype) not in places:
        # not of inference mode, even when first used in it: a later context may train
        with torch.inference_mode(False):
            both = profile.weights, profile.centers
            weights, centers = (part.to(device, dtype, non_blocking=True) for part in both)
        places[device, dtype] = weights, centers
    return places[device, dtype]
