"""Segments: AdaptiveSegments without a question."""

import pytest
import torch

from headrouter_core import Frame, Need, Segments, UsageError
from headrouter_core.selectors.adaptive_segments import segments

from ..checking.views import make_view


def test_it_reads_states_alone():
    assert Segments.needs == Need.HIDDEN_STATES
    assert Segments() == Segments(change=0.75, merge=0.75)


@pytest.mark.parametrize("k", [1, 7, 79])
def test_it_is_adaptive_segments_where_all_tokens_matter_alike(k):
    view = make_view(80)
    found = Segments(change=0.5, merge=0.25)(view, k)
    wanted = segments(torch.full((80,), 1.0), view.hidden_states, k, 0.5, 1, 0.25)
    assert torch.equal(found.kept, wanted.kept)
    assert torch.equal(found.states, wanted.states)


def test_a_segment_keeps_its_first_token_and_carries_the_mean():
    states = torch.tensor([[1.0, 0.0]] * 6 + [[0.0, 2.0]] * 3 + [[4.0, 0.0]])
    view = make_view(10)
    found = Segments(merge=1)(type(view)(10, view.device, 0, hidden_states=states), 3)
    assert found.kept.tolist() == [0, 6, 9]
    assert found.states.tolist() == [[1, 0], [0, 2], [4, 0]]
    assert found.importance is None


def test_without_change_it_keeps_what_frame_keeps():
    view = make_view(97)
    for k in (1, 10, 96):
        assert torch.equal(Segments(change=0)(view, k).kept, Frame()(view, k).kept)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"change": 4.1}, "change 4.1 is outside"),
        ({"change": "0.5"}, "change '0.5' is no number"),
        ({"merge": -1}, "merge -1 is outside"),
        ({"merge": float("nan")}, "merge nan is outside"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        Segments(**settings)
