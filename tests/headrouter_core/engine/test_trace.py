"""A trace is bounded, says what it dropped, and can be cleared, copied and listened to."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import pytest
import torch

from headrouter_core.engine.choice import log as traces
from headrouter_core.engine.choice.trace import Entry, Trace
from headrouter_core.errors import UsageError
from headrouter_core.pruning.context import prune
from headrouter_core.pruning.inputs import prune_inputs

from ..checking.guarded import ONE, fixture_model
from ..checking.probes import Affinity, Recorder
from ..tiny.models import batch, row

model = fixture_model


def run(model: Any, *lengths: int) -> None:
    with torch.no_grad():
        for length in lengths:
            model(**batch([row("s", length, "why")]))


def test_the_oldest_entries_go_first(model: Any) -> None:
    with prune(model, Affinity(), 0.5, trace_limit=2) as trace:
        run(model, 4, 6)
        assert (trace.total, trace.dropped, len(trace)) == (2, 0, 2)
        run(model, 8)
    assert [entry.audio_tokens for entry in trace] == [6, 8]
    assert trace[0].audio_tokens == 6
    assert trace[-1].audio_tokens == 8
    assert [entry.audio_tokens for entry in trace[1:]] == [8]
    assert (trace.total, trace.dropped, len(trace)) == (3, 1, 2)
    assert repr(trace) == "Trace([1 dropped, 3/6, 4/8])"
    with pytest.raises(IndexError):
        trace[2]


def test_without_a_limit_the_first_loss_is_said_once(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "TRACE_LIMIT", 2)
    with prune(model, Affinity(), 0.5) as trace:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            run(model, 4, 6)
        with pytest.warns(UserWarning, match="keeps the last 2 entries") as caught:
            run(model, 8, 10)
    assert sum("keeps the last" in str(warning.message) for warning in caught) == 1
    assert len(trace) == 2


def test_clearing_lets_go_of_the_tensors(model: Any) -> None:
    with prune(model, Affinity(), 0.5) as trace:
        run(model, 4, 6)
        trace.clear()
        assert (len(trace), trace.total, trace.dropped) == (0, 2, 2)
        run(model, 8)
    assert [entry.audio_tokens for entry in trace] == [8]
    assert (trace.total, trace.dropped) == (3, 2)


def test_a_callback_gets_every_entry(model: Any) -> None:
    seen: list[Entry] = []
    with prune(model, Affinity(), 0.5, trace_limit=0, on_entry=seen.append) as trace:
        run(model, 4, 6)
    assert [entry.audio_tokens for entry in seen] == [4, 6]
    assert len(trace) == 0


def test_what_a_callback_raises_comes_out_of_the_forward(model: Any) -> None:
    def refuse(entry: Entry) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"), prune(model, Affinity(), 0.5, on_entry=refuse):
        run(model, 4)


def test_what_cannot_be_called_with_an_entry(model: Any) -> None:
    with (
        pytest.raises(UsageError, match="on_entry is 5"),
        prune(model, Affinity(), 0.5, on_entry=5),
    ):  # type: ignore[arg-type]
        pass


@pytest.mark.parametrize("limit", [-1, 2.5, "many", True])
def test_limits_that_are_none(model: Any, limit: Any) -> None:
    with (
        pytest.raises(UsageError, match=f"trace_limit is {limit!r}"),
        prune(model, Affinity(), 0.5, trace_limit=limit),
    ):
        pytest.fail("opened")


def test_a_trace_is_copied_without_its_context(model: Any) -> None:
    with prune(model, Affinity(), 0.5, trace_limit=2, on_entry=lambda entry: None) as trace:
        run(model, 4, 6, 8)
        copies = [copy.deepcopy(trace), pickle.loads(pickle.dumps(trace))]
    for each in copies:
        assert (each.total, each.dropped) == (3, 1)
        for here, there in zip(each, trace, strict=True):
            assert torch.equal(here.kept, there.kept)
        with pytest.raises(UsageError, match="of no context"):
            each.bound(model.generate)


def test_traces_without_a_context_bind_nothing(model: Any) -> None:
    with pytest.raises(UsageError, match="of no context"):
        Trace().bound(model.generate)
    with pytest.raises(UsageError, match="of no context"):
        prune_inputs(model, batch(ONE), Affinity(), 0.5).trace.bound(model.generate)


def test_rows_are_numbered_on_whatever_the_trace_dropped(model: Any) -> None:
    """A method that draws at random, or knows each recording's loudness, goes by the number."""
    recorders = [Recorder(), Recorder()]
    with prune(model, recorders[0], 0.5, trace_limit=1) as trace:
        run(model, 4, 6)
        trace.clear()
        run(model, 8)
    with prune(model, recorders[1], 0.5):
        run(model, 4, 6, 8)
    numbers = [[view.sample for view in recorder.views] for recorder in recorders]
    assert numbers == [[0, 1, 2]] * 2
