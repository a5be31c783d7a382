"""Training-free pruning of audio tokens in large audio-language models.

from headrouter_core import HeadRouter, load_profile, prune

profile = load_profile("tiny-omni")  # a shipped name, a file, or a Hub repository
with prune(model, HeadRouter(profile), ratio=0.6) as trace:
    output = model.generate(**inputs)  # unchanged user code
trace[0].kept  # indices into the audio tokens of row 0

Public names are imported when they are first asked for: who lists families needs no torch.
"""

import importlib
from typing import TYPE_CHECKING

from headrouter_core._version import __version__

if TYPE_CHECKING:
    from headrouter_core.engine.choice.trace import Entry, Trace
    from headrouter_core.errors import (
        EvictionError,
        HeadRouterError,
        NonFiniteError,
        ProfileError,
        ProfileMismatchError,
        PruningError,
        SelectionError,
        UnsupportedModelError,
        UsageError,
    )
    from headrouter_core.eviction.context import Eviction, Evictions, evict
    from headrouter_core.eviction.methods import (
        H2O,
        METHODS,
        AdaKV,
        AudioKV,
        PyramidKV,
        RandomKV,
        SnapKV,
        StreamingLLM,
        get_method,
    )
    from headrouter_core.profile.profile import ModelInfo, Profile, Recipe
    from headrouter_core.profile.shipped import load_profile, shipped_profiles
    from headrouter_core.pruning.context import prune
    from headrouter_core.pruning.inputs import PrunedInputs, prune_inputs
    from headrouter_core.selectors import (
        DART,
        SELECTORS,
        AdaptiveSegments,
        AffinityMerge,
        Energy,
        FastV,
        Frame,
        HeadRouter,
        Random,
        Segments,
        Segmentwise,
        get_selector,
    )
    from headrouter_core.selectors.base import Merge, Need, Selection, Selector, View

__all__ = [
    "DART",
    "H2O",
    "METHODS",
    "SELECTORS",
    "AdaKV",
    "AdaptiveSegments",
    "AffinityMerge",
    "AudioKV",
    "Energy",
    "Entry",
    "Eviction",
    "EvictionError",
    "Evictions",
    "FastV",
    "Frame",
    "HeadRouter",
    "HeadRouterError",
    "Merge",
    "ModelInfo",
    "Need",
    "NonFiniteError",
    "Profile",
    "ProfileError",
    "ProfileMismatchError",
    "PrunedInputs",
    "PruningError",
    "PyramidKV",
    "Random",
    "RandomKV",
    "Recipe",
    "Segments",
    "Segmentwise",
    "Selection",
    "SelectionError",
    "Selector",
    "SnapKV",
    "StreamingLLM",
    "Trace",
    "UnsupportedModelError",
    "UsageError",
    "View",
    "__version__",
    "evict",
    "get_method",
    "get_selector",
    "load_profile",
    "prune",
    "prune_inputs",
    "shipped_profiles",
]

#: Where they are at home; modules that need less come first.
_HOMES = (
    "errors",
    "profile.profile",
    "profile.shipped",
    "selectors",
    "selectors.base",
    "engine.choice.trace",
    "pruning.context",
    "pruning.inputs",
    "eviction.methods",
    "eviction.context",
)

if not TYPE_CHECKING:  # who checks types would take it for a promise of any name

    def __getattr__(name: str) -> object:
        """Import a public name."""
        if name in __all__:
            for home in _HOMES:
                module = importlib.import_module(f"{__name__}.{home}")
                if name in vars(module):
                    globals()[name] = vars(module)[name]
                    return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
