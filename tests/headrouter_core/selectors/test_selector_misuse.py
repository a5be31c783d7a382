"""Selectors refuse settings and views that make no sense; what they return is checked."""

import copy
import dataclasses
import pickle

import pytest
import torch

from headrouter_core.errors import SelectionError, UsageError
from headrouter_core.pruning.context import prune
from headrouter_core.selectors import (
    DART,
    AdaptiveSegments,
    Energy,
    HeadRouter,
    Random,
    Segmentwise,
    get_selector,
)
from headrouter_core.selectors.base import Need, Selection

from ..checking.bundles import make_profile
from ..checking.views import make_view
from ..selectors.test_selector_contract import PROFILE, every_selector, make_selectors
from ..tiny.models import batch, row, thinker

ONE = batch([row("system", 20, "question?")])


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: HeadRouter("tiny-omni"), "profile is 'tiny-omni'"),
        (lambda: HeadRouter(None), "profile is None"),
        (lambda: AdaptiveSegments(type(PROFILE)), "profile is the class Profile"),
        (lambda: HeadRouter(PROFILE, route=["auto"]), "route is"),
        (lambda: HeadRouter(PROFILE, route=0), "route is 0"),
        (lambda: HeadRouter(PROFILE, exponent="0.5"), "exponent '0.5' is no number"),
        (lambda: HeadRouter(PROFILE, exponent=True), "exponent True is no number"),
        (lambda: HeadRouter(PROFILE, text_tokens=1), "text_tokens is 1"),
        (lambda: AdaptiveSegments(PROFILE, change="1"), "change '1' is no number"),
        (lambda: AdaptiveSegments(PROFILE, merge=torch.ones(())), "merge a torch.float32 tensor"),
        (lambda: Random(seed=1.5), "seed is 1.5"),
        (lambda: Random(seed=None), "seed is None"),
        (lambda: DART(pivots="8"), "pivots is '8'"),
        (lambda: DART(pivots=True), "pivots is True"),
        (lambda: Segmentwise(segments=2.5), "segments is 2.5"),
        (lambda: Segmentwise(text_tokens="some"), "text_tokens is 'some'"),
        (lambda: Energy(3), "loudness is 3"),
        (lambda: Energy([1.0, 2.0]), "loudness 0 is 1.0"),
        (lambda: get_selector(["frame"]), "no method"),
        (lambda: get_selector(None), "no method None"),
        (lambda: make_selectors()[0]("view", 3), "was given 'view'"),
    ],
)
def test_selectors_check_what_they_are_made_of(call, named):
    with pytest.raises(UsageError, match=named):
        call()


@every_selector
def test_selectors_are_values(index):
    selector, view = make_selectors()[index], make_view(10)
    kept = selector(view, 4).kept  # also after use
    for same in (
        dataclasses.replace(selector),
        copy.copy(selector),
        copy.deepcopy(selector),
        pickle.loads(pickle.dumps(selector)),
    ):
        assert type(same) is type(selector)
        assert torch.equal(same(view, 4).kept, kept)
    if not isinstance(selector, Energy):  # compared by identity: it holds tensors
        assert dataclasses.replace(selector) == selector
        assert hash(dataclasses.replace(selector)) == hash(selector)
    assert selector in {selector}


def test_one_setting_is_replaced_and_the_others_stay():
    before = HeadRouter(PROFILE, exponent=0.25, text_tokens="after")
    after = dataclasses.replace(before, route="hard")
    assert (after.route, after.exponent, after.text_tokens) == ("hard", 0.25, "after")
    before = AdaptiveSegments(PROFILE, change=0.5)
    after = dataclasses.replace(before, route="acoustic", merge=0)
    assert (after.route, after.change, after.merge) == ("acoustic", 0.5, 0)
    assert after.router == HeadRouter(PROFILE, route="acoustic", exponent=0)
    with pytest.raises(UsageError, match="route is 'loud'"):
        dataclasses.replace(before, route="loud")
    other = make_profile()
    assert dataclasses.replace(before, profile=other).router.profile is other


class Returning:
    """A selector that returns what it is told."""

    name, needs, text_tokens = "returning", Need.NOTHING, "all"

    def __init__(self, make):
        self.make = make

    def __call__(self, view, k):
        return self.make(torch.arange(k), k, view.audio_tokens)


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda kept, k, n: None, "returned None instead of a Selection"),
        (lambda kept, k, n: kept, "a torch.int64 tensor"),
        (lambda kept, k, n: Selection, "the class Selection"),
        (lambda kept, k, n: Selection(kept.tolist()), "as kept"),
        (lambda kept, k, n: Selection(None), "as kept None"),
        (lambda kept, k, n: Selection(kept.int()), "as kept a torch.int32 tensor"),
        (lambda kept, k, n: Selection(kept[1:]), "as kept"),
        (lambda kept, k, n: Selection(kept.to("meta")), "kept on meta"),
        (lambda kept, k, n: Selection(kept, torch.rand(n - 1)), "as importance"),
        (lambda kept, k, n: Selection(kept, torch.ones(n).long()), "as importance"),
        (lambda kept, k, n: Selection(kept, [0.5] * n), "as importance"),
        (lambda kept, k, n: Selection(kept, spread=0.1), "as spread 0.1"),
        (lambda kept, k, n: Selection(kept, spread=torch.ones(1)), "as spread"),
        (lambda kept, k, n: Selection(kept, mixing=torch.ones(5)), "as mixing"),
        (lambda kept, k, n: Selection(kept, states=torch.ones(k, 1)), "as states"),
        (lambda kept, k, n: Selection(kept, states=torch.ones(k)), "as states"),
        (lambda kept, k, n: Selection(kept, states=torch.ones(k, 64).long()), "as states"),
        (lambda kept, k, n: Selection(kept, states=torch.ones(1, 64)), "as states"),
    ],
)
@torch.no_grad()
def test_what_a_selector_may_not_return(make, found):
    model = thinker()
    with (
        pytest.raises(SelectionError, match=f"selector returning returned .*{found}|{found}"),
        prune(model, Returning(make), 0.6, 2),
    ):
        model(**ONE)
    assert model(**ONE).logits.isfinite().all()
