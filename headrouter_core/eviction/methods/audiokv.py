"""AudioKV: budgets by what each head is worth for following speech, scores without ripples."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from headrouter_core.basics.arguments import one_of, real, shown, whole
from headrouter_core.errors import ProfileError, UsageError
from headrouter_core.eviction.budgets import Room, share
from headrouter_core.eviction.methods.base import Need, Scores, View
from headrouter_core.eviction.methods.pooling import check_pooling, pooled
from headrouter_core.eviction.methods.smoothing import smoothed
from headrouter_core.profile.profile import Profile

BUDGETS = ("heads", "uniform", "shuffled")


@dataclass(frozen=True)
class AudioKV:
    """Give heads that follow the audio in time more room, and smooth scores over frequencies.

    Source: AudioKV (arXiv 2604.06694). What its text leaves open is a setting here, recorded in
    ``docs/eviction.md``: the mean is removed before smoothing, and smoothing comes after pooling.

    Args:
        profile: with head scores; ``headrouter calibrate --heads`` adds them.
        window: last queries that are asked, and positions that are kept.
        kernel: neighbours that attention is pooled over, odd; 1: none.
        pooling: ``average`` or ``max``.
        floor: share of an even budget, behind the window, that every head has.
        energy: share of a row's energy that the frequencies that pass have at least (gamma).
        mix: share of what passed (alpha); 0: no smoothing.
        taper: frequencies that fade out behind the last one that passes.
        center: whether the mean is left out of smoothing.
        budgets: shared by ``heads``' scores, ``uniform``, or by ``shuffled`` scores.
        seed: of the shuffle.

    Raises:
        ProfileError: the profile holds no head scores.
        UsageError: a setting is out of range.
    """

    name: ClassVar[str] = "audiokv"
    needs: ClassVar[Need] = Need.WINDOW

    profile: Profile = field(repr=False)
    window: int = 32
    kernel: int = 5
    pooling: str = "average"
    floor: float = 0.5
    energy: float = 0.7
    mix: float = 0.5
    taper: int = 0
    center: bool = True
    budgets: str = "heads"
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.profile, Profile):
            raise UsageError(f"profile is {shown(self.profile)}; pass what load_profile returns")
        if self.profile.head_scores is None:
            model = self.profile.model.id
            raise ProfileError(
                f"the profile of {model} holds no head scores; add them to it:"
                f" headrouter calibrate --model {model} --heads"
            )
        whole("window", self.window, 1)
        check_pooling(self.kernel, self.pooling)
        for name in ("floor", "energy", "mix"):
            real(name, getattr(self, name), 0, 1)
        whole("taper", self.taper, 0)
        one_of("budgets", self.budgets, BUDGETS)
        whole("seed", self.seed)

    def score(self, view: View) -> Scores:
        """Return the attention, pooled and smoothed."""
        assert view.attention is not None
        scores = pooled(view.attention, self.kernel, self.pooling)
        if not self.mix:
            return Scores(scores)
        return Scores(
            *smoothed(
                scores, energy=self.energy, mix=self.mix, taper=self.taper, center=self.center
            )
        )

    def share(self, room: Room, scores: Sequence[Sequence[torch.Tensor]]) -> list[list[int]]:
        """Return a floor for every head, and shares of the rest, over all layers, by its worth."""
        if self.budgets == "uniform":
            return room.evenly()
        floors = [
            [min(window + math.floor((budget - window) * self.floor), most) for most in held]
            for budget, window, held in zip(room.budgets, room.windows, room.held, strict=True)
        ]
        every = list(itertools.chain(*floors))
        whole_budget = sum(
            budget * len(held) for budget, held in zip(room.budgets, room.held, strict=True)
        )
        able = [
            most - least for most, least in zip(itertools.chain(*room.held), every, strict=True)
        ]
        more = iter(share(whole_budget - sum(every), self._worth(), able))
        return [[least + next(more) for least in layer] for layer in floors]

    def _worth(self) -> list[float]:
        """Return what each layer's heads are worth, one layer after the other."""
        assert self.profile.head_scores is not None
        worth: list[float] = self.profile.head_scores.flatten().tolist()
        if self.budgets == "shuffled":
            random.Random(self.seed).shuffle(worth)
        return worth
