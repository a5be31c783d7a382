"""Contexts whose code goes on in another thread: bound, refused, or said; never unpruned."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import warnings
import weakref
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
import torch

from headrouter_core.errors import PruningError
from headrouter_core.pruning.context import prune

from ...checking.guarded import fixture_model
from ...checking.probes import Affinity
from .threads import aside, logits, pruned

model = fixture_model
REFUSED = "answers opened a context on the model and was resumed by another thread or task"


@pytest.fixture(autouse=True)
def _nothing_is_said_for_nothing() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


def answers(model: Any, *, bound: bool = False) -> Iterator[torch.Tensor]:
    with prune(model, Affinity(), 0.6) as trace:
        while True:
            yield (trace.bound(logits) if bound else logits)(model)


def test_a_generator_resumed_by_another_thread_is_refused(model: Any) -> None:
    generator = answers(model)
    wanted = next(generator)
    with ThreadPoolExecutor() as pool, pytest.raises(PruningError, match=REFUSED):
        pool.submit(next, generator).result()
    assert torch.equal(pruned(model, 0.6), wanted)


def test_a_generator_that_binds_may_be_resumed_anywhere(model: Any) -> None:
    generator = answers(model, bound=True)
    wanted = next(generator)
    assert torch.equal(aside(lambda: next(generator)), wanted)
    assert torch.equal(next(generator), wanted)
    aside(generator.close)  # type: ignore[attr-defined]


def test_an_asynchronous_generator_resumed_by_another_task_is_refused(model: Any) -> None:
    async def answers() -> AsyncIterator[torch.Tensor]:
        with prune(model, Affinity(), 0.6):
            while True:
                yield logits(model)

    async def serve() -> None:
        generator = answers()
        wanted = await anext(generator)
        assert torch.equal(await anext(generator), wanted)
        with pytest.raises(PruningError, match=REFUSED.split(" ", 1)[1]):
            await asyncio.create_task(resume(generator), context=contextvars.Context())
        await generator.aclose()  # type: ignore[attr-defined]

    async def resume(generator: Any) -> Any:
        return await anext(generator)

    asyncio.run(serve())


def test_who_uses_a_context_beside_its_generator_is_let_be(model: Any) -> None:
    generator, plain = answers(model), logits(model)
    next(generator)
    assert torch.equal(aside(lambda: logits(model)), plain)
    generator.close()  # type: ignore[attr-defined]


def test_a_context_that_is_closed_elsewhere_says_who_ran_unpruned(model: Any) -> None:
    stack, plain = ExitStack(), logits(model)

    def begin() -> None:
        stack.enter_context(prune(model, Affinity(), 0.6))
        logits(model)

    aside(begin)
    assert torch.equal(logits(model), plain)
    with pytest.warns(UserWarning, match="another thread or task ran the model meanwhile"):
        stack.close()


def test_a_generator_that_is_dropped_closes_its_context(model: Any) -> None:
    generator = answers(model)
    next(generator)
    seen = weakref.ref(generator)
    del generator
    gc.collect()
    assert seen() is None
    pruned(model, 0.6)
