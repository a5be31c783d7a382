"""What every selector holds to, by itself and inside a running model."""

import functools
import math
from dataclasses import FrozenInstanceError, replace

import pytest
import torch

from headrouter_core import families, routing
from headrouter_core.errors import UsageError
from headrouter_core.pruning.context import prune
from headrouter_core.scoring import keep_count
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
from headrouter_core.selectors.base import Selector

from ..checking.bundles import make_profile
from ..checking.exactness import TOLERANCE, shown_logits
from ..checking.masked import dropped_columns, error, masked
from ..checking.views import FIELDS, WIDTH, make_view
from ..checking.waiting import Watch
from ..tiny.families import decoder_layers
from ..tiny.models import AUDIO, batch, row, thinker

PROFILE = make_profile()


def loudness(audios):
    """Return the loudness of a row, with ties."""
    return torch.arange(audios) * 37 % 101 // 3 - 60.0


def make_selectors(profile=PROFILE, audios=(10,)):
    """Return every selector with every kind of setting; ``audios`` tells the rows' lengths."""
    return [
        *(HeadRouter(profile, exponent=exponent) for exponent in (0, 0.5, 1)),
        *(HeadRouter(profile, route=route) for route in ("hard", "swapped", *routing.GROUPS)),
        Frame(),
        Random(),
        Random(seed=7),
        FastV(),
        DART(),
        DART(pivots=1),
        Segmentwise(),
        Segmentwise(segments=1, text_tokens="after"),
        AffinityMerge(),
        AdaptiveSegments(profile),
        AdaptiveSegments(profile, route="acoustic", sharpness=0, merge=1),
        AdaptiveSegments(profile, sharpness=1, merge=0, text_tokens="after"),
        Segments(),
        Segments(change=0, merge=1),
        Segments(merge=0),
        Energy([loudness(n) for n in audios]),
    ]


def label(selector):
    settings = ("route", "exponent", "seed", "pivots", "segments", "change", "sharpness", "merge")
    return "-".join(
        [selector.name, *(str(getattr(selector, s)) for s in settings if hasattr(selector, s))]
    )


every_selector = pytest.mark.parametrize(
    "index", range(len(make_selectors())), ids=lambda i: label(make_selectors()[i])
)


def check_selection(selector, view, k):
    """Check what a selector returns, twice, and return it."""
    selection, again = selector(view, k), selector(view, k)
    kept, states, importance = selection.kept, selection.states, selection.importance
    assert kept.dtype == torch.int64
    assert kept.shape == (k,)
    assert (kept[1:] > kept[:-1]).all()
    assert kept[0] >= 0
    assert kept[-1] < view.audio_tokens
    assert torch.equal(again.kept, kept)
    assert importance is None or importance.shape == (view.audio_tokens,)
    if isinstance(selector, AdaptiveSegments):
        merging = selector.settings(k, view.audio_tokens)["merge"] > 0
    else:
        merging = isinstance(selector, AffinityMerge) or getattr(selector, "merge", 0) > 0
    assert (states is not None) == merging
    if states is not None:
        assert states.shape == (k, WIDTH)
        assert states.dtype == torch.float32
        assert torch.equal(states.nan_to_num(), again.states.nan_to_num())
    return selection


@every_selector
@pytest.mark.parametrize(("audios", "k"), [(1, 1), (2, 1), (9, 9), (10, 4), (97, 1), (750, 300)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_contract(index, audios, k, dtype):
    selector = make_selectors(audios=[audios])[index]
    view = make_view(audios, sample=3, dtype=dtype)
    selection = check_selection(selector, view, k)
    if selection.states is not None and k == audios:
        assert torch.equal(selection.states, view.hidden_states.float())
    assert isinstance(selector, Selector)
    assert selector.text_tokens in ("all", "after")


@every_selector
@pytest.mark.parametrize(
    "spoil", [lambda x: x * math.nan, torch.zeros_like, lambda x: x / x.sign().clamp(min=0)]
)
def test_broken_states_still_give_k_tokens(index, spoil):
    # all NaN, all alike, and infinite or NaN here and there
    view = make_view(10)
    names = [name for fields in FIELDS.values() for name in fields]
    view = replace(view, **{name: spoil(getattr(view, name)) for name in names})
    for k in (1, 3, 9, 10):
        check_selection(make_selectors()[index], view, k)


@every_selector
@pytest.mark.parametrize("k", [0, 11])
def test_a_count_out_of_range_is_refused(index, k):
    with pytest.raises(UsageError, match=f"{k} of 10"):
        make_selectors()[index](make_view(10), k)


@every_selector
def test_a_view_without_what_is_needed_is_refused(index):
    selector = make_selectors()[index]
    for need, names in FIELDS.items():
        for name in names:
            view = replace(make_view(10), **{name: None})
            if need in selector.needs:
                with pytest.raises(UsageError, match=f"{selector.name} needs"):
                    selector(view, 3)
            else:
                selector(view, 3)


@every_selector
def test_selectors_are_frozen(index):
    with pytest.raises(FrozenInstanceError):
        make_selectors()[index].seed = 3


@every_selector
def test_nothing_waits_for_the_device_or_fills_its_memory(index):
    selector = make_selectors(audios=[3000])[index]
    if isinstance(selector, Random):
        pytest.skip("drawn on the host, so that devices do not differ")
    view = make_view(3000)
    selector(view, 900)  # a profile is moved to the device once
    with Watch() as watch:
        selector(view, 900)
    # far from a matrix of tokens by tokens
    assert watch.largest < 3000 * 300


@every_selector
def test_choosing_is_not_differentiated(index):
    view = make_view(10)
    names = [name for fields in FIELDS.values() for name in fields]
    view = replace(view, **{name: getattr(view, name).requires_grad_() for name in names})
    selection = make_selectors()[index](view, 3)
    for tensor in (selection.importance, selection.spread, selection.mixing, selection.states):
        assert tensor is None or not tensor.requires_grad


def test_the_registry_knows_each_selector_by_its_name():
    assert {type(selector) for selector in make_selectors()} == set(SELECTORS.values())
    assert all(get_selector(name) is kind for name, kind in SELECTORS.items())
    assert all(name == kind.name for name, kind in SELECTORS.items())


def test_an_unknown_name_lists_the_known_ones():
    known = "adaptive_segments, affinity_merge, dart, energy, fastv, frame, headrouter, random"
    known += ", segments, segmentwise"
    with pytest.raises(UsageError, match=f"'fastvv'; known are {known}$"):
        get_selector("fastvv")


# inside a running model


@functools.cache
def model(attention):
    return thinker(attention)


@functools.cache
def prompts():
    """Two audios and text between them; one audio; none."""
    rows = [row("system", 11, "and then", 9, "which?"), row("s", 9, "why"), row("only text")]
    return batch(rows)


@functools.cache
def fitting_profile():
    return make_profile(model=families.model_info(model("sdpa"), 2))


class Recorded:
    """A selector that remembers what it returned."""

    def __init__(self, selector):
        self.selector = selector
        self.selections = []

    def __getattr__(self, name):
        return getattr(self.selector, name)

    def __call__(self, view, k):
        self.selections.append(self.selector(view, k))
        return self.selections[-1]


@every_selector
@torch.no_grad()
def test_pruning_equals_a_model_that_cannot_see_what_was_dropped(index):
    selector = Recorded(make_selectors(fitting_profile(), audios=[20, 9, 0])[index])
    inputs = prompts()
    with prune(model("sdpa"), selector, 0.6, 2) as trace:
        found = model("sdpa")(**inputs).logits

    assert [entry.audio_tokens for entry in trace] == [20, 9, 0]
    assert [len(entry.kept) for entry in trace] == [keep_count(20, 0.6), keep_count(9, 0.6), 0]
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    # only audio tokens are hidden from the reference: had a marker or a text token gone, or got
    # another state, it would answer differently
    dropped = dropped_columns(ids, mask, AUDIO, [entry.kept for entry in trace])
    states = {}
    for number, selection in enumerate(selector.selections):
        columns = (ids[number] == AUDIO).nonzero()[selection.kept, 0].tolist()
        if selection.states is not None:
            states |= {(number, c): s for c, s in zip(columns, selection.states, strict=True)}
    reference = model("eager")
    with masked(decoder_layers(reference), 2, dropped, states):
        wanted = reference(**inputs).logits
    shown = mask.bool() & ~dropped
    assert error(shown_logits(found, shown), wanted[shown]) < TOLERANCE
