"""What runs on other threads for a context: bound calls, and threads that nobody bound."""

from __future__ import annotations

import contextvars
import copy
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from headrouter_core.errors import PruningError, UsageError
from headrouter_core.pruning.context import prune

from ...checking.guarded import ONE, fixture_model, hook_count
from ...checking.probes import Affinity
from ...tiny.models import batch
from . import threads
from .threads import GREEDY, aside, logits, pruned

model = fixture_model
silence = threads.silence


# --- what runs elsewhere for a context


def test_a_bound_generate_runs_on_other_threads(model: Any) -> None:
    with prune(model, Affinity(), 0.6) as trace:
        wanted = model.generate(**batch(ONE), **GREEDY)
        generate = trace.bound(model.generate)
        with ThreadPoolExecutor(2) as pool:
            jobs = [pool.submit(generate, **batch(ONE), **GREEDY) for _ in range(4)]
        assert all(torch.equal(job.result(), wanted) for job in jobs)
    assert [len(entry.kept) for entry in trace] == [8] * 5


def test_a_bound_function_keeps_the_callers_context_variables(model: Any) -> None:
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request")
    request.set("mine")
    with prune(model, Affinity(), 0.6) as trace:
        read = trace.bound(lambda: (request.get(), logits(model)))
        request.set("later")
        name, found = aside(read)
        assert name == "mine"
        assert torch.equal(found, logits(model))
        assert request.get() == "later"


def test_a_bound_call_wins_over_the_context_of_its_thread(model: Any) -> None:
    half, tenth = pruned(model, 0.6), pruned(model, 0.9)
    with prune(model, Affinity(), 0.6) as trace:
        ask = trace.bound(lambda: logits(model))

        def other() -> list[torch.Tensor]:
            with prune(model, Affinity(), 0.9):
                return [logits(model), ask(), logits(model)]

        found = aside(other)
    assert all(map(torch.equal, found, [tenth, half, tenth]))


def test_what_would_run_later_cannot_be_bound(model: Any) -> None:
    async def later() -> None:
        pass

    def piecewise() -> Iterator[int]:
        yield 1

    with prune(model, Affinity(), 0.6) as trace:
        for function in (later, piecewise):
            with pytest.raises(UsageError, match=f"{function.__name__} does not run when it is"):
                trace.bound(function)
        logits(model)


def test_a_bound_call_after_the_context_is_refused(model: Any) -> None:
    with prune(model, Affinity(), 0.6) as trace:
        generate = trace.bound(model.generate)
        logits(model)
    with pytest.raises(PruningError, match="context of this call is closed"):
        generate(**batch(ONE), **GREEDY)
    with pytest.raises(PruningError, match="context of this call is closed"):
        trace.bound(model.generate)(**batch(ONE), **GREEDY)


@pytest.mark.parametrize("use_cache", [True, False])
def test_a_call_that_outlasts_its_context_is_never_unpruned(model: Any, use_cache: bool) -> None:
    begun, closed = threading.Event(), threading.Event()

    class Slow:
        def put(self, value: Any) -> None:
            begun.set()
            closed.wait(10)

        def end(self) -> None:
            pass

    hooks = hook_count(model)
    with ThreadPoolExecutor(1) as pool:
        with prune(model, Affinity(), 0.6) as trace:
            generate = trace.bound(model.generate)
            options = {**GREEDY, "use_cache": use_cache, "streamer": Slow()}
            job = pool.submit(generate, **batch(ONE), **options)
            begun.wait(10)
            logits(model)
        assert torch.equal(logits(model), logits(copy.copy(model)))
        closed.set()
        with pytest.raises(PruningError, match="context of this call is closed"):
            job.result()
    assert hook_count(model) == hooks


# --- threads that nobody bound


def test_a_thread_that_was_not_bound_runs_unpruned_and_it_is_said(model: Any) -> None:
    plain = logits(model)
    with (
        pytest.warns(UserWarning, match=r"thread 'Thread-\d+ \(run\)' ran the model") as caught,
        prune(model, Affinity(), 0.6),
    ):
        found = logits(model), aside(lambda: logits(model))
    assert torch.equal(found[1], plain)
    assert found[0].shape != plain.shape
    assert caught[0].filename == __file__
    assert "Thread(target=trace.bound(model.generate), ...)" in str(caught[0].message)


def test_where_nothing_was_heard_an_unbound_thread_of_before_is_named(model: Any) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        with (
            pytest.warns(UserWarning, match=r"no audio was seen.*another thread or task ran"),
            prune(model, Affinity(), 0.6),
        ):
            pool.submit(model.generate, **batch(ONE), **GREEDY).result()


def test_threads_of_others_are_not_warned_of(model: Any) -> None:
    """Those that were there before, and those of a server that starts one for each request."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        with prune(model, Affinity(), 0.6):
            logits(model)
            pool.submit(logits, model).result()

    asked, answered = threading.Event(), threading.Event()

    def handle(ratio: float | None) -> None:
        if ratio is None:
            asked.wait(10)
            logits(model)
            answered.set()
            return
        with prune(model, Affinity(), ratio):
            asked.set()
            logits(model)
            answered.wait(10)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        requests = [threading.Thread(target=handle, args=(ratio,)) for ratio in (0.6, None)]
        requests[0].start()
        asked.wait(10)
        requests[1].start()
        for request in requests:
            request.join()
    assert not caught
