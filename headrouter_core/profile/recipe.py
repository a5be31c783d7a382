"""The recipe: what the paper leaves open, settled in named fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from headrouter_core.profile.checks import check_keys, entries, is_real, is_whole, require
from headrouter_core.routing import ROUTES

#: Allowed values of the named choices. A new rule is a new word here.
CHOICES: dict[str, tuple[str, ...]] = {
    "selector": ("headrouter",),
    "probe_input": ("normalised_input",),
    "text_tokens": ("all", "after", "last"),
    "ablation": ("leave_one_out", "keep_one", "output"),
    "ablation_loss": ("answer_nll",),
    "weights_unit": ("nat", "head_deviation"),
    "weights_rule": ("uniform", "leave_one_out", "keep_one", "combined"),
    "centers_rule": ("group_means_midpoint", "group_means_pooled", "overall_mean"),
    "bandwidth_rule": ("pooled_deviation", "cross_validated"),
    "route": ROUTES,
    "order": ("ablation_weights_search_routing",),
    "positions": ("original",),
    "early_cache": ("full", "pruned"),
}

#: Which token of a segment adaptive segments keep: its first, as Frame does, or the important one.
TOKENS = ("first", "important")

#: Selector -> what it is told for each ratio, and what each may be: one of some names, or a number
#: from 0 to this. Beside these stands its route.
PARAMETERS: dict[str, dict[str, tuple[str, ...] | float]] = {
    "adaptive_segments": {"token": TOKENS, "change": 4.0, "sharpness": 4.0, "merge": 1.0},
}

#: What the first files of schema 1 do not tell: they have one setting for all ratios.
_UNTOLD = ("token",)

#: Fields that the first files of schema 1 lack; their defaults are what held then.
LATER = ("route", "weights_unit")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a profile came about and how it is to be used; written into the file field by field.

    Raises:
        ProfileError: a value that this version does not know.
    """

    selector: str = "headrouter"
    selector_parameters: Mapping[str, Any] = field(default_factory=dict)
    """Calibrated parameters of selectors that use this profile beyond the fields below, by the
    selector's name, see :data:`PARAMETERS`; ``headrouter`` has none."""
    layer: int = 2
    """Pruning layer M; the probe layer is M-1."""
    probe_input: str = "normalised_input"
    """What is projected to queries and keys: layer M-1's own input, after its norm."""
    text_tokens: str = "all"
    """Whose queries are probed: all text tokens, those after the last audio token, or the last."""
    prefilter_exponent: float = 0.0
    """Share of the reduction that Frame does before scoring: 0 none of it, 1 all of it."""
    ablation: tuple[str, ...] = ("leave_one_out", "keep_one")
    """Kinds of head ablation, in the order of the ablation tensors' first axis."""
    ablation_loss: str = "answer_nll"
    """Ablated minus all heads, in nats per token of the reference answer."""
    weights_rule: str = "uniform"
    """Which ablation the head weights come from."""
    weights_strength: float = 0.0
    """How far the head weights follow the ablation; 0 leaves them uniform."""
    weights_unit: str = "nat"
    """What one unit of strength is a unit per: a nat of utility, or the deviation between heads of
    the utilities that a vector is fitted to."""
    centers_rule: str = "group_means_midpoint"
    """Mean spread of each group; the uniform center is their midpoint, or the mean of all. Of
    samples without groups all centers are the overall mean."""
    bandwidth_rule: str = "pooled_deviation"
    """Pooled deviation of the spread within the groups, or the value that validated best."""
    route: str = "auto"
    """How the head weights of an input are mixed, see :data:`headrouter_core.routing.ROUTES`."""
    order: str = "ablation_weights_search_routing"
    """Order of the choices; the search is for exponent and text tokens."""
    positions: str = "original"
    """Position ids of kept tokens after pruning."""
    early_cache: str = "full"
    """What layers 0..M-1 keep in their cache."""

    def __post_init__(self) -> None:
        require(isinstance(self.ablation, list | tuple), "recipe.ablation", self.ablation, "a list")
        for name, allowed in CHOICES.items():
            chosen = getattr(self, name)
            for value in chosen if name == "ablation" else (chosen,):
                require(value in allowed, f"recipe.{name}", value, f"one of {', '.join(allowed)}")
        once = len(set(self.ablation)) == len(self.ablation)
        require(once, "recipe.ablation", self.ablation, "free of repetition")
        require(is_whole(self.layer, 1), "recipe.layer", self.layer, "a whole number from 1 up")
        exponent, strength = self.prefilter_exponent, self.weights_strength
        require(is_real(exponent, 1), "recipe.prefilter_exponent", exponent, "a number in [0, 1]")
        require(is_real(strength), "recipe.weights_strength", strength, "a number from 0 up")
        _check_parameters(self.selector_parameters)
        # one recipe, one spelling: a list from JSON, and 0 for 0.0, must not make another file
        object.__setattr__(self, "ablation", tuple(self.ablation))
        object.__setattr__(self, "prefilter_exponent", float(exponent))
        object.__setattr__(self, "weights_strength", float(strength))

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as it stands in the metadata."""
        return asdict(self)

    @classmethod
    def from_dict(cls, recipe: Mapping[str, Any]) -> Recipe:
        """Build a recipe from metadata; the keys must be exactly the fields.

        Those of :data:`LATER` may be missing, as in files from before there was a choice.
        """
        wanted = [entry.name for entry in fields(cls) if entry.name not in LATER]
        check_keys("recipe", recipe, wanted, optional=LATER)
        return cls(**recipe)


def _check_parameters(parameters: Mapping[str, Any]) -> None:
    where = "recipe.selector_parameters"
    require(isinstance(parameters, Mapping), where, parameters, "an object")
    for selector, given in parameters.items():
        known = ", ".join(PARAMETERS)
        require(selector in PARAMETERS, where, selector, f"of selectors that have some: {known}")
        name, allowed = f"{where}.{selector}", PARAMETERS[selector]
        by_ratio = isinstance(given, Mapping) and "by_ratio" in given
        first = tuple(setting for setting in allowed if setting not in _UNTOLD)
        check_keys(name, given, ("route", *(("by_ratio",) if by_ratio else first)))
        _check_setting(f"{name}.route", given["route"], ROUTES)
        if not by_ratio:
            _check_settings(name, given, {setting: allowed[setting] for setting in first})
            continue
        require(bool(given["by_ratio"]), f"{name}.by_ratio", given["by_ratio"], "by pruning ratio")
        for entry, settings in entries(f"{name}.by_ratio", given["by_ratio"]):
            ratio = entry.removeprefix(f"{name}.by_ratio.")
            require(_is_ratio(ratio), f"{name}.by_ratio", ratio, "by numbers in [0, 1)")
            check_keys(entry, settings, tuple(allowed))
            _check_settings(entry, settings, allowed)


def _check_settings(
    name: str, settings: Mapping[str, Any], allowed: Mapping[str, tuple[str, ...] | float]
) -> None:
    for setting, values in allowed.items():
        _check_setting(f"{name}.{setting}", settings[setting], values)


def _check_setting(name: str, value: object, allowed: tuple[str, ...] | float) -> None:
    if isinstance(allowed, tuple):
        require(value in allowed, name, value, f"one of {', '.join(allowed)}")
    else:
        require(is_real(value, allowed), name, value, f"a number in [0, {allowed:g}]")


def _is_ratio(text: str) -> bool:
    try:
        return 0 <= float(text) < 1
    except ValueError:
        return False
