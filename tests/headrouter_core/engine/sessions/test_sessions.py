"""One model, many threads and tasks: each is pruned as it asked, or not at all."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from calibrate.estimation.replay.prefix import capture
from headrouter_core.errors import PruningError, UsageError
from headrouter_core.pruning.context import prune

from ...checking.guarded import ONE, fixture_model, hook_count, not_opened
from ...checking.probes import Affinity, Scattered
from ...tiny.models import batch, row, thinker
from . import threads
from .threads import GREEDY, aside, logits, pruned

model = fixture_model
silence = threads.silence
OTHER = [row("s", 9, "why")]


# --- threads


def test_each_thread_has_its_own_ratio_and_who_asks_for_nothing_none(model: Any) -> None:
    ratios = [0, 0.3, 0.6, 0.9]
    plain, hooks = logits(model), hook_count(model)
    alone = [pruned(model, ratio) for ratio in ratios]
    start = threading.Barrier(len(ratios) + 1)

    def asking(ratio: float) -> list[torch.Tensor]:
        start.wait()
        return [pruned(model, ratio) for _ in range(6)]

    def not_asking() -> list[torch.Tensor]:
        start.wait()
        return [logits(model) for _ in range(12)]

    with ThreadPoolExecutor(len(ratios) + 1) as pool:
        unpruned = pool.submit(not_asking)
        found = list(pool.map(asking, ratios))
    for wanted, results in zip([plain, *alone], [unpruned.result(), *found], strict=True):
        assert all(torch.equal(wanted, result) for result in results)
    assert hook_count(model) == hooks


def test_contexts_that_overlap_close_in_any_order(model: Any) -> None:
    """The gates of one must not go with another, nor be seen to come in the midst of a forward."""
    plain, half = logits(model), pruned(model, 0.6)
    inner, outer = threading.Event(), threading.Event()

    def other() -> torch.Tensor:
        with prune(model, Affinity(), 0.9, 3):
            inner.set()
            outer.wait(10)
            return logits(model)

    with ThreadPoolExecutor(1) as pool:
        with prune(model, Affinity(), 0.6):
            later = pool.submit(other)
            inner.wait(10)
            assert torch.equal(logits(model), half)
        assert torch.equal(logits(model), plain)
        outer.set()
        with prune(model, Affinity(), 0.9, 3):
            assert torch.equal(later.result(), logits(model))


def test_contexts_on_one_model_do_not_nest_in_one_thread(model: Any) -> None:
    with prune(model, Affinity(), 0.6):
        not_opened("do not nest", model, Affinity(), 0.3, kind=UsageError)
        with pytest.raises(UsageError, match="do not nest"):
            capture(model, batch(ONE), 2)
        wanted = aside(lambda: capture(model, batch(ONE), 2)).hidden_states
        half = logits(model)
    assert torch.equal(capture(model, batch(ONE), 2).hidden_states, wanted)
    assert torch.equal(pruned(model, 0.6), half)


def test_models_side_by_side(model: Any) -> None:
    other = copy.deepcopy(model)
    with prune(model, Affinity(), 0.6) as here, prune(other, Affinity(), 0.9) as there:
        found = [each.generate(**batch(ONE), **GREEDY) for each in (model, other)]
    for each, ratio, ids in ((model, 0.6, found[0]), (other, 0.9, found[1])):
        with prune(each, Affinity(), ratio):
            assert torch.equal(each.generate(**batch(ONE), **GREEDY), ids)
    assert [len(entry.kept) for entry in (*here, *there)] == [8, 2]


def test_a_pruned_cache_is_of_no_use_in_a_thread_that_asked_for_nothing(model: Any) -> None:
    step = {"input_ids": torch.tensor([[5]])}
    with torch.no_grad(), prune(model, Scattered(), 0.6):
        cache = model(**batch(ONE), use_cache=True).past_key_values
        with pytest.raises(PruningError, match="no pruning context is open for it in this thread"):
            contextvars.Context().run(lambda: model(**step, past_key_values=cache))
        model(**step, past_key_values=cache)


def test_a_pruned_cache_of_another_model(model: Any) -> None:
    other = copy.deepcopy(model)
    with torch.no_grad(), prune(model, Scattered(), 0.6):
        cache = model(**batch(ONE), use_cache=True).past_key_values
    with pytest.raises(PruningError, match="another Qwen"), prune(other, Scattered(), 0.6):
        other(input_ids=torch.tensor([[5]]), past_key_values=cache)


# --- tasks


def test_each_task_has_its_own_ratio(model: Any) -> None:
    wanted = [pruned(model, ratio) for ratio in (0.3, 0.6)]
    plain = logits(model)

    async def ask(ratio: float) -> list[torch.Tensor]:
        with prune(model, Affinity(), ratio):
            here = logits(model)
            await asyncio.sleep(0)
            there = await asyncio.to_thread(logits, model)
            await asyncio.sleep(0)
            child = await asyncio.create_task(asyncio.to_thread(logits, model))
        return [here, there, child]

    async def ask_for_nothing() -> list[torch.Tensor]:
        results = []
        for _ in range(3):
            results.append(logits(model))
            await asyncio.sleep(0)
            results.append(await asyncio.to_thread(logits, model))
        return results

    async def serve() -> Any:
        return await asyncio.gather(ask(0.3), ask_for_nothing(), ask(0.6))

    first, unasked, second = asyncio.run(serve())
    for right, results in ((wanted[0], first), (plain, unasked), (wanted[1], second)):
        assert all(torch.equal(right, result) for result in results)


def test_a_task_that_outlives_its_context_goes_on_unpruned_and_may_open_its_own(
    model: Any,
) -> None:
    wanted, plain = pruned(model, 0.9), logits(model)

    async def serve() -> None:
        closed = asyncio.Event()

        async def later() -> None:
            await closed.wait()
            assert torch.equal(logits(model), plain)
            assert torch.equal(pruned(model, 0.9), wanted)

        with prune(model, Affinity(), 0.6):
            logits(model)
            task = asyncio.create_task(later())
        closed.set()
        await task

    asyncio.run(serve())


def test_a_closed_context_lets_go_of_the_model() -> None:
    """A copied context, as that of a task, holds its variables as long as it lives."""
    import gc
    import weakref

    model = thinker("sdpa", num_hidden_layers=3)
    with prune(model, Affinity(), 0.6):
        logits(model)
        held = contextvars.copy_context()
    there = weakref.ref(model)
    del model
    gc.collect()
    assert there() is None
    assert held
